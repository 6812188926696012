"""Values to JSON and arrays and back: equal, of the same type, and to the bit."""

from __future__ import annotations

import json
import random
import re
from collections import Counter, OrderedDict, deque

import numpy as np
import pytest
import torch
from flwr.app import ConfigRecord, MetricRecord
from flwr.common import Parameters
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from app.strategies.state_values import CannotEncodeError, Encoder, decode
from shared.parameters import ALLOWED_DTYPES
from shared.records import from_array_record, to_array_record

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
values = st.recursive(
    scalars | st.binary(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=4)
        | st.lists(inner, max_size=3).map(lambda items: deque(items, 2))
    ),
    max_leaves=12,
)


def there_and_back(value):
    encoder = Encoder()
    node = json.loads(json.dumps(encoder.encode(value)))
    return decode(node, encoder.arrays)


@settings(deadline=None)
@given(value=values)
def test_plain_values_come_back_equal_and_of_the_same_type(value):
    # repr tells -0.0 from 0.0, True from 1, a tuple from a list, and NaN equals NaN in it.
    assert repr(there_and_back(value)) == repr(value)


@settings(deadline=None)
@given(array=hnp.arrays(st.sampled_from(sorted(ALLOWED_DTYPES)), hnp.array_shapes(min_dims=0, max_dims=3, min_side=0)))
def test_arrays_come_back_to_the_bit(array):
    back = there_and_back([array])[0]
    assert (back.dtype, back.shape, back.tobytes()) == (array.dtype, array.shape, array.tobytes())
    assert back.flags.writeable


@pytest.mark.parametrize(
    "value",
    [
        OrderedDict(b=1, a=2),
        Counter("abba"),
        {3, 1},
        frozenset({"x"}),
        deque([1]),
        np.float32(0.1),
        np.bool_(True),
        np.int64(-3),
        ConfigRecord({"lr": 0.1, "names": ["a"], "raw": b"\0"}),
        MetricRecord({"loss": 0.5, "many": [1, 2]}),
        Parameters(tensors=[b"one", b""], tensor_type="numpy.ndarray"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_known_types_come_back_as_themselves(value):
    back = there_and_back(value)
    assert type(back) is type(value)
    assert back == value


def test_array_records_keep_names_and_order():
    arrays = {"b": np.arange(3, dtype=np.float16), "a": np.array(7)}
    back = from_array_record(there_and_back(to_array_record(arrays)))
    assert list(back) == ["b", "a"]
    assert all(np.array_equal(back[name], array) and back[name].dtype == array.dtype for name, array in arrays.items())


@pytest.mark.parametrize("kind", [np.random.PCG64, np.random.Philox, np.random.SFC64, np.random.MT19937])
def test_numpys_generators_go_on_where_they_were(kind):
    generator = np.random.Generator(kind(5))
    generator.normal(size=3)
    assert there_and_back(generator).integers(0, 2**62, 9).tolist() == generator.integers(0, 2**62, 9).tolist()


@pytest.mark.parametrize(("kind", "place"), [(np.random.MT19937, "pos"), (np.random.Philox, "buffer_pos")])
@pytest.mark.parametrize("position", [-1, 10**6])
def test_a_position_outside_a_generator_is_refused(kind, place, position):
    encoder = Encoder()
    text = json.dumps(encoder.encode(np.random.Generator(kind(5))))
    damaged = re.sub(rf'\["?{place}"?, \d+\]', f'["{place}", {position}]', text)
    assert damaged != text
    with pytest.raises(ValueError, match="position"):
        decode(json.loads(damaged), encoder.arrays)


def test_pythons_generators_go_on_where_they_were():
    source = random.Random(5)
    source.gauss(0, 1)
    back = there_and_back(source)
    assert [back.gauss(0, 1) for _ in range(5)] == [source.gauss(0, 1) for _ in range(5)]


def test_tensors_come_back_as_tensors():
    tensor = torch.arange(6, dtype=torch.float64).reshape(2, 3).T
    assert torch.equal(there_and_back(tensor), tensor)


@pytest.mark.parametrize(
    "value",
    [
        object(),
        np.array([object()]),
        np.array(["text"]),
        1j,
        [lambda: 0],
        {"a": {1: object()}},
        torch.ones(2).bfloat16(),
    ],
)
def test_other_types_are_refused_by_name(value):
    with pytest.raises(CannotEncodeError):
        Encoder().encode(value)


def test_a_list_that_holds_itself_is_refused():
    cycle: list[object] = []
    cycle.append(cycle)
    with pytest.raises(CannotEncodeError, match="too deep"):
        Encoder().encode(cycle)
