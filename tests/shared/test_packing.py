"""Packed records come out as they went in, and hostile ones are a ValueError."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from app.engine.flwr_compat import identify_process
from client.supernode.flwr_compat import Deflated
from shared.packing import PACKED, is_packed, pack, unpack
from shared.records import from_array_record, to_array_record


def records(num_values: int = 4) -> RecordDict:
    arrays = {"weight": np.arange(num_values, dtype=np.float32), "bias": np.array(2.5), "none": np.zeros((0, 3))}
    return RecordDict(
        {
            "arrays": to_array_record(arrays),
            "metrics": MetricRecord({"loss": 0.1, "counts": [1, 2]}),
            "request": ConfigRecord({"nonce": b"\x00\xff", "round": 3, "name": "x", "flags": [True, False]}),
        }
    )


@pytest.mark.parametrize("num_values", [4, 400_000])  # as a value, and as an array
def test_packing_is_undone(num_values: int) -> None:
    packed = pack(records(num_values), apart=("request",))
    assert set(packed) == {PACKED, "request"}
    found = unpack(packed)
    expected = records(num_values)
    assert set(found) == set(expected)
    assert found["metrics"] == expected["metrics"]
    assert found["request"] == expected["request"]
    arrays = from_array_record(found["arrays"])  # type: ignore[arg-type]
    for name, array in from_array_record(expected["arrays"]).items():  # type: ignore[arg-type]
        np.testing.assert_array_equal(arrays[name], array)
        assert arrays[name].dtype == array.dtype
        assert arrays[name].shape == array.shape


def test_a_packed_message_is_three_objects_where_it_was_eleven() -> None:
    identify_process(1, 1)
    plain, packed = (Message(content, 7, "train") for content in (records(), pack(records())))
    # Message, RecordDict, three records, three arrays with one piece each
    assert len(Deflated.of(plain).contents) == 11
    assert len(Deflated.of(packed).contents) == 3


def test_only_what_was_packed_is_taken_for_packed() -> None:
    assert not is_packed(records())
    assert is_packed(pack(records()))


@pytest.mark.parametrize(
    "content",
    [
        RecordDict({PACKED: ConfigRecord()}),
        RecordDict({PACKED: ConfigRecord({"records": "text"})}),
        RecordDict({PACKED: ConfigRecord({"records": b"no records"})}),
        RecordDict({PACKED: MetricRecord({"records": 1.0})}),
        RecordDict({PACKED: ArrayRecord({"records": Array(np.zeros(3))})}),
        RecordDict({PACKED: ArrayRecord({"records": Array("uint8", (1,), "constellation.records", b"\xff")})}),
    ],
)
def test_something_else_is_refused(content: RecordDict) -> None:
    with pytest.raises(ValueError, match="records"):
        unpack(content)


def test_a_record_cannot_come_twice() -> None:
    packed = pack(records())
    packed["metrics"] = MetricRecord({"loss": 0.0})
    with pytest.raises(ValueError, match="came twice"):
        unpack(packed)


def test_packed_records_are_not_packed_again() -> None:
    with pytest.raises(ValueError, match="packed once"):
        unpack(pack(pack(records())))


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_are_a_value_error_or_records(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        unpack(RecordDict({PACKED: ConfigRecord({"records": data})}))
