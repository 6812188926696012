from __future__ import annotations

import contextlib
import copy
import struct
from typing import Any

import msgpack
import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from shared.parameters import AnyArray
from shared.records import (
    NUMPY_STYPE,
    BufferArray,
    array_record,
    config_record,
    copy_record,
    decode_records,
    encode_records,
    from_array_record,
    metric_record,
    to_array_record,
    values_of,
)

DTYPES = [
    *("<f2", "<f4", "<f8", ">f4", ">f8", "<c8", "|b1"),
    *("|i1", "<i2", "<i4", "<i8", "|u1", "<u2", "<u4", "<u8", ">i8"),
]


def sample() -> RecordDict:
    """Every kind of record, with arrays of both forms."""
    return RecordDict(
        {
            "arrays": to_array_record({"w": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.array(7, np.int64)}),
            "stock": ArrayRecord({"s": Array(np.array([1.5, 2.5]))}),
            "metrics": MetricRecord({"num-examples": 12, "loss": 0.5, "per-class": [1, 2, 3]}),
            "config": ConfigRecord({"name": "a", "raw": b"\0\xff", "on": True, "many": [True, False], "none": []}),
        }
    )


def frame(head: object, tail: bytes = bytes(256)) -> bytes:
    """Write a head as ``encode_records`` does, whatever it holds."""
    packed = msgpack.packb(head, use_bin_type=True)
    return struct.pack(">Q", len(packed)) + packed + tail


def assert_same_records(left: RecordDict, right: RecordDict) -> None:
    assert list(left) == list(right)
    for name, record in left.items():
        other = right[name]
        assert type(record) is type(other)
        assert list(record) == list(other)
        for key, value in record.items():
            if isinstance(value, Array):
                assert_same_array(value, other[key])
            else:
                assert repr(value) == repr(other[key])  # tells 1, 1.0 and True, and 0.0 and -0.0, apart
                assert type(value) is type(other[key])


def assert_same_array(left: Array, right: Array) -> None:
    assert (left.dtype, left.shape, left.stype) == (right.dtype, tuple(right.shape), right.stype)
    assert left.numpy().dtype == right.numpy().dtype
    assert left.numpy().tobytes() == right.numpy().tobytes()


def test_records_of_every_kind_come_back_in_order() -> None:
    assert_same_records(decode_records(encode_records(sample())), sample())


def test_no_records_come_back_as_none() -> None:
    assert dict(decode_records(encode_records(RecordDict()))) == {}
    empty = RecordDict({"a": ArrayRecord(), "m": MetricRecord(), "c": ConfigRecord()})
    assert_same_records(decode_records(encode_records(empty)), empty)


numbers = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=True)
texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
configs = st.dictionaries(
    texts,
    st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.booleans()
    | texts
    | st.binary(max_size=8)
    | st.lists(texts, max_size=3)
    | st.lists(st.binary(max_size=3), max_size=3)
    | st.lists(st.booleans(), max_size=3),
    max_size=4,
)
arrays = st.sampled_from(DTYPES).flatmap(
    lambda kind: hnp.arrays(np.dtype(kind), hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
)
records = st.dictionaries(
    texts,
    st.dictionaries(texts, arrays, max_size=3).map(to_array_record)
    | st.dictionaries(texts, numbers, max_size=3).map(MetricRecord)
    | configs.map(ConfigRecord),
    max_size=4,
)


@given(records)
def test_any_records_come_back(content: dict[str, Any]) -> None:
    assert_same_records(decode_records(encode_records(RecordDict(content))), RecordDict(content))


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview])
def test_any_buffer_can_be_read(wrap: Any) -> None:
    assert_same_records(decode_records(wrap(encode_records(sample()))), sample())


@pytest.mark.parametrize("layout", ["transposed", "strided", "reversed", "fortran"])
def test_layout_in_memory_does_not_matter(layout: str) -> None:
    grid = np.arange(12, dtype=np.float32).reshape(3, 4)
    views = {"transposed": grid.T, "strided": grid[:, ::2], "reversed": grid[::-1], "fortran": np.asfortranarray(grid)}
    read = decode_records(encode_records(RecordDict({"a": to_array_record({"x": views[layout]})})))
    assert read.array_records["a"]["x"].numpy().tolist() == views[layout].tolist()


def test_decoded_arrays_are_aligned_read_only_views_of_the_bytes() -> None:
    data = encode_records(RecordDict({"a": to_array_record({"odd": np.zeros(3, np.uint8), "w": np.ones(5)})}))
    read = from_array_record(decode_records(data).array_records["a"])["w"]
    assert np.shares_memory(read, np.frombuffer(data, np.uint8))
    assert not read.flags.writeable
    offset = read.__array_interface__["data"][0] - np.frombuffer(data, np.uint8).__array_interface__["data"][0]
    assert offset % 64 == 0


def test_truncated_at_any_offset_is_a_value_error() -> None:
    data = encode_records(sample())
    for length in range(len(data)):
        with pytest.raises(ValueError, match=r".+"):
            decode_records(data[:length])


def test_any_flipped_byte_of_the_head_is_a_value_error_or_other_records() -> None:
    data = bytearray(encode_records(sample()))
    (head_bytes,) = struct.unpack(">Q", data[:8])
    for offset in range(8 + head_bytes):
        for flip in (0x01, 0x80, 0xFF):
            changed = bytearray(data)
            changed[offset] ^= flip
            try:
                read = decode_records(changed)
            except ValueError:
                continue
            for record in read.array_records.values():
                assert all(array.stype or not array.numpy().dtype.hasobject for array in record.values())


@given(st.binary(max_size=200))
def test_random_bytes_are_a_value_error_or_records(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(decode_records(data), RecordDict)


@pytest.mark.parametrize("claimed", [9, 2**26 + 1, 2**32, 2**63, 2**64 - 1])
def test_head_longer_than_the_data_is_refused_before_it_is_read(claimed: int) -> None:
    with pytest.raises(ValueError, match="head is longer than the data"):
        decode_records(struct.pack(">Q", claimed) + b"\x90" * 8)


HOSTILE_ARRAYS: dict[str, list[object]] = {
    "python objects": ["x", "|O", [1], "", 8],
    "objects in a structure": ["x", "f4,O", [1], "", 12],
    "no itemsize": ["x", "V0", [1], "", 8],
    "no such dtype": ["x", "nonsense", [1], "", 8],
    "half an expression": ["x", "f4,(", [1], "", 8],
    "no dtype": ["x", None, [1], "", 8],
    "a number as dtype": ["x", 7, [1], "", 8],
    "negative length": ["x", "<f4", [-1], "", 8],
    "negative lengths": ["x", "<f4", [-1, -2], "", 8],
    "length that is no whole number": ["x", "<f4", [2.0], "", 8],
    "length that is a boolean": ["x", "<f4", [True], "", 4],
    "shape that is a number": ["x", "<f4", 2, "", 8],
    "shape larger than the bytes": ["x", "<f4", [3], "", 8],
    "shape smaller than the bytes": ["x", "<f4", [1], "", 8],
    "huge shape": ["x", "<f4", [10**18, 10**18], "", 8],
    "too many dimensions": ["x", "|u1", [1] * 200, "", 1],
    "bytes that are no multiple": ["x", "<f4", [2], "", 7],
    "more bytes than there are": ["x", "|u1", [10**6], "", 10**6],
    "huge number of bytes": ["x", "|u1", [2**62], "", 2**62],
    "negative number of bytes": ["x", "<f4", [2], "", -8],
    "fractional number of bytes": ["x", "<f4", [2], "", 8.0],
    "key that is a number": [3, "<f4", [2], "", 8],
    "key that is a list": [["x"], "<f4", [2], "", 8],
    "a field missing": ["x", "<f4", [2], ""],
    "a field more": ["x", "<f4", [2], "", 8, 0],
    "no list": 5,  # type: ignore[dict-item]
}


@pytest.mark.parametrize("entry", HOSTILE_ARRAYS.values(), ids=HOSTILE_ARRAYS.keys())
def test_hostile_array_is_a_value_error(entry: object) -> None:
    with pytest.raises(ValueError, match=r".+"):
        decode_records(frame([["a", "a", [entry]]]))


HOSTILE_HEADS: dict[str, object] = {
    "a number": 5,
    "a text": "abc",
    "a map": {"a": 1},
    "a list of numbers": [5],
    "an entry too short": [["a", "a"]],
    "an unknown kind": [["a", "z", []]],
    "a kind that is a list": [["a", [], []]],
    "a name that is a number": [[1, "m", []]],
    "items that are a number": [["a", "m", 5]],
    "a metric that is a text": [["a", "m", [["k", "text"]]]],
    "a metric that is a list of texts": [["a", "m", [["k", ["t"]]]]],
    "a mixed list": [["a", "c", [["k", [1, "t"]]]]],
    "a setting that is a map": [["a", "c", [["k", {"a": 1}]]]],
    "a setting that is nothing": [["a", "c", [["k", None]]]],
    "a key that is a number": [["a", "c", [[1, 2]]]],
}


@pytest.mark.parametrize("head", HOSTILE_HEADS.values(), ids=HOSTILE_HEADS.keys())
def test_hostile_head_is_a_value_error(head: object) -> None:
    with pytest.raises(ValueError, match=r".+"):
        decode_records(frame(head))


def test_nesting_without_end_is_a_value_error() -> None:
    nested = b"\x91" * 100_000
    with pytest.raises(ValueError, match=r".+"):
        decode_records(struct.pack(">Q", len(nested)) + nested)


def test_text_that_is_not_utf8_is_a_value_error() -> None:
    packed = b"\x91\x93\xa1\xff\xa1m\x90"
    with pytest.raises(ValueError, match=r".+"):
        decode_records(struct.pack(">Q", len(packed)) + packed)


def test_python_objects_are_never_written() -> None:
    hostile = RecordDict({"a": to_array_record({"x": np.array([{}, []], dtype=object)})})
    with pytest.raises(TypeError, match="array 'x' holds Python objects, which are never sent"):
        encode_records(hostile)


def test_number_beyond_64_bits_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="does not fit in 64 bits"):
        encode_records(RecordDict({"m": MetricRecord({"n": 2**64})}))


def test_pickled_array_of_a_client_is_carried_but_not_read() -> None:
    """The bytes of a stock array pass through untouched; only numpy's loader without pickle ever opens them."""
    hostile = Array(dtype="object", shape=(1,), stype=NUMPY_STYPE, data=b"\x80\x04\x95cposix\nsystem\n.")
    read = decode_records(encode_records(RecordDict({"a": ArrayRecord({"x": hostile})})))
    assert read.array_records["a"]["x"].data == hostile.data
    with pytest.raises(ValueError, match=r".+"):
        from_array_record(read.array_records["a"])


def test_array_is_shared_and_not_copied() -> None:
    array = np.arange(4, dtype=np.float32)
    wrapped = to_array_record({"w": array})
    assert np.shares_memory(from_array_record(wrapped)["w"], array)


def test_view_cannot_be_written_to_and_numpy_gives_a_copy() -> None:
    """FedAvg hands one record to every client: what one does in place must not reach another."""
    array = np.arange(4, dtype=np.float32)
    wrapped = BufferArray(array)
    with pytest.raises(ValueError, match="read-only"):
        wrapped.view()[0] = 9
    own = wrapped.numpy()
    own[0] = 9
    assert array.tolist() == [0, 1, 2, 3]
    assert array.flags.writeable


@pytest.mark.parametrize("array", [np.arange(6.0).reshape(2, 3), np.array(3, np.int8), np.zeros((0, 2), ">f4")])
def test_buffer_array_serialises_as_flowers_own_does(array: AnyArray) -> None:
    ours, stock = BufferArray(array), Array(array)
    assert (ours.dtype, ours.shape, ours.stype) == (stock.dtype, stock.shape, stock.stype)
    assert ours.data == stock.data
    assert ours.data is ours.data, "serialised once"
    assert ours.deflate() == stock.deflate()
    assert ours.object_id == stock.object_id
    assert list(ours.children) == list(stock.children)


def test_buffer_array_passes_for_flowers_in_a_message_that_is_sent() -> None:
    """Flower's own in-memory transport asks for ``data``: what arrives is a stock array with the same values."""
    array = np.arange(3, dtype=np.float32)
    received = Array(**{name: getattr(BufferArray(array), name) for name in ("dtype", "shape", "stype", "data")})
    assert received.numpy().tolist() == [0, 1, 2]


def test_buffer_array_can_be_copied() -> None:
    wrapped = BufferArray(np.arange(3))
    deep = copy.deepcopy(wrapped)
    assert deep.numpy().tolist() == [0, 1, 2]
    assert not np.shares_memory(deep.view(), wrapped.view())
    assert copy.copy(wrapped).numpy().tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("quick", "usual", "values"),
    [
        (config_record, ConfigRecord, {"a": 1, "b": 2.5, "c": "x", "d": b"y", "e": True, "f": [1, 2], "g": ["z"]}),
        (config_record, ConfigRecord, {"a": 1, "b": "x"}),
        (metric_record, MetricRecord, {"a": 1, "b": 2.5}),
        (metric_record, MetricRecord, {"a": 1, "b": [2.5, 3.5]}),
    ],
)
def test_records_made_quickly_equal_those_of_the_public_constructors(quick, usual, values) -> None:  # type: ignore[no-untyped-def]
    made, expected = quick(values), usual(values)
    assert type(made) is usual
    assert made == expected
    assert list(made.items()) == list(expected.items())
    assert made.object_id == expected.object_id
    made["new"] = 7
    assert "new" not in values


@pytest.mark.parametrize(
    "record", [ConfigRecord({"a": 1, "b": b"x"}), MetricRecord({"a": [1.5]}), ArrayRecord({"w": Array(np.ones(2))})]
)
def test_a_copy_can_be_edited_alone(record: ConfigRecord | MetricRecord | ArrayRecord) -> None:
    copied, values = copy_record(record), values_of(record)

    assert type(copied) is type(record)
    assert copied == record
    assert values == dict(record)
    del copied[next(iter(copied))]
    values.clear()
    assert len(record) > 0


@pytest.mark.parametrize(
    ("quick", "values"),
    [(config_record, {"a": None}), (config_record, {1: 2}), (metric_record, {"a": "x"}), (metric_record, {"a": True}),
     (metric_record, {1: 2}), (array_record, {"a": 1}), (array_record, {1: BufferArray(np.ones(1))})],
)  # fmt: skip
def test_records_made_quickly_refuse_what_flowers_records_refuse(quick, values) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(TypeError):
        quick(values)
