"""What is hashed: no two contents may look alike, and equal contents must."""

from __future__ import annotations

import hashlib
import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.crypto.digest import DigestCache, Value, content_digest, encode_fields, encode_value
from shared.parameters import model_digest

SCALARS = st.one_of(
    st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5), st.binary(max_size=5)
)
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=3))


def test_fields_are_written_as_the_scheme_says() -> None:
    # By hand: number of fields, then by sorted name: length, name, length, type and value.
    expected = struct.pack(">Q", 2)
    expected += struct.pack(">Q", 1) + b"a" + struct.pack(">Q", 9) + b"f" + struct.pack(">d", 0.5)
    expected += struct.pack(">Q", 1) + b"b" + struct.pack(">Q", 11) + b"i" + struct.pack(">Q", 2) + b"-7"

    assert encode_fields({"b": -7, "a": 0.5}) == expected


@given(st.dictionaries(st.text(max_size=80), VALUES, max_size=4))
def test_each_value_is_written_as_it_is_alone(fields: dict[str, Value]) -> None:
    expected = struct.pack(">Q", len(fields))
    for name in sorted(fields):
        key, value = name.encode(), encode_value(fields[name])
        expected += struct.pack(">Q", len(key)) + key + struct.pack(">Q", len(value)) + value

    assert encode_fields(fields) == expected


def test_a_content_is_hashed_as_the_scheme_says() -> None:
    expected = hashlib.sha256(b"tag" + encode_fields({"a": 1}) + encode_fields({"b": "x"}) + b"d" * 32).digest()

    assert content_digest(b"tag", {"a": 1}, {"b": "x"}, b"d" * 32) == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, 1.0), (1, True), (0, False), ("1", 1), ("a", b"a"), ([1], 1), ([1, 2], [2, 1]), ([], ""), (0.0, -0.0)],
)
def test_values_of_different_types_differ(one: Value, other: Value) -> None:
    assert encode_value(one) != encode_value(other)


def _typed(value: object) -> object:
    return [_typed(item) for item in value] if isinstance(value, list) else (type(value), repr(value))


@given(
    st.dictionaries(st.text(max_size=4), VALUES, max_size=4), st.dictionaries(st.text(max_size=4), VALUES, max_size=4)
)
def test_different_fields_have_different_bytes(one: dict[str, Value], other: dict[str, Value]) -> None:
    same = {k: _typed(v) for k, v in one.items()} == {k: _typed(v) for k, v in other.items()}

    assert (encode_fields(one) == encode_fields(other)) == same


@given(st.dictionaries(st.text(max_size=4), VALUES, max_size=5), st.randoms())
def test_the_order_of_fields_does_not_matter(fields: dict[str, Value], random: object) -> None:
    shuffled = list(fields.items())
    random.shuffle(shuffled)  # type: ignore[attr-defined]

    assert encode_fields(dict(shuffled)) == encode_fields(fields)


def test_what_no_record_holds_is_refused() -> None:
    with pytest.raises(TypeError):
        encode_value({"a": 1})  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        encode_value("\ud800")


def test_nan_and_infinity_have_a_form() -> None:
    assert len({encode_value(value) for value in (math.nan, math.inf, -math.inf)}) == 3


def read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


def test_the_cache_gives_the_digest_of_the_model() -> None:
    cache = DigestCache()
    arrays = {"a": read_only(np.arange(6.0)), "b": read_only(np.zeros(2, np.int64))}

    assert cache.digest(arrays) == cache.digest(dict(reversed(arrays.items()))) == model_digest(arrays)


def test_the_cache_does_not_take_equal_names_for_equal_arrays() -> None:
    cache = DigestCache()
    digests = [cache.digest({"a": read_only(np.full(3, value))}) for value in range(5)]

    assert digests == [model_digest({"a": np.full(3, value)}) for value in range(5)]


def test_the_cache_does_not_trust_an_array_that_can_be_written() -> None:
    cache = DigestCache()
    array = np.zeros(3)
    cache.digest({"a": array})
    array[0] = 1

    assert cache.digest({"a": array}) == model_digest({"a": array})


def test_the_cache_sees_a_missing_array() -> None:
    cache = DigestCache()
    arrays = {"a": read_only(np.zeros(1)), "b": read_only(np.zeros(2))}
    cache.digest(arrays)

    assert cache.digest({"a": arrays["a"]}) == model_digest({"a": arrays["a"]})
    assert cache.digest({}) == model_digest({})
