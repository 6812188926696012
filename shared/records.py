"""Flower's records to and from our arrays and bytes: the only module of ``shared`` that knows Flower.

``BufferArray`` is a Flower ``Array`` that keeps the numpy array and serialises it only when somebody asks for the
bytes: inside one machine nobody does. ``encode_records`` writes a ``RecordDict`` as length-prefixed msgpack plus raw
array buffers (no pickle), which is what worker processes and stored client states use.
"""

from __future__ import annotations

import functools
import io
import struct
from collections.abc import Mapping
from typing import Any, TypeVar, cast

import msgpack
import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, ConfigRecordValues, MetricRecord, MetricRecordValues, RecordDict

from shared.npy import read_npy
from shared.parameters import AnyArray, Arrays

Record = ArrayRecord | MetricRecord | ConfigRecord
R = TypeVar("R", ArrayRecord, MetricRecord, ConfigRecord)

NUMPY_STYPE = "numpy.ndarray"  # Flower's name for "np.save bytes"
_ALIGNMENT = 64  # of each array in an encoded buffer: what numpy and SIMD loads like
_MAX_HEAD_BYTES = 64 * 1024 * 1024  # of the msgpack part: a corrupt length must not allocate the machine


class BufferArray(Array):
    """A Flower ``Array`` over a numpy array, serialised on first use of ``data``.

    ``view`` gives the array itself, read-only: FedAvg hands one record to every client. ``numpy`` gives a copy that may
    be written to, as Flower's own ``Array`` does: apps in the wild train in place on what they receive.
    """

    def __init__(self, ndarray: AnyArray) -> None:
        """Wrap ``ndarray`` without copying it."""
        view = np.asarray(ndarray).view()
        view.flags.writeable = False
        # Not by attribute: Array notes each assignment as a change to be serialised again, and there are many arrays.
        self.__dict__.update(_ndarray=view, dtype=_dtype_text(view.dtype), shape=view.shape, stype=NUMPY_STYPE)

    @property
    def data(self) -> bytes:  # type: ignore[override]
        """The array in Flower's own serialisation."""
        if "_data" not in self.__dict__:
            buffer = io.BytesIO()
            np.save(buffer, self.__dict__["_ndarray"], allow_pickle=False)
            self.__dict__["_data"] = buffer.getvalue()
        return cast(bytes, self.__dict__["_data"])

    def deflate(self) -> bytes:
        """Return what goes over Flower's wire: that of a plain ``Array``, the only kind the other side knows."""
        return Array(dtype=self.dtype, shape=self.shape, stype=self.stype, data=self.data).deflate()

    def numpy(self) -> AnyArray:
        """Return a copy of the array."""
        return self.view().copy()

    def view(self) -> AnyArray:
        """Return the array itself, read-only."""
        return cast(AnyArray, self.__dict__["_ndarray"])


def to_array_record(arrays: Arrays) -> ArrayRecord:
    """Wrap named arrays as a Flower record, without copying or serialising them."""
    return array_record({name: BufferArray(array) for name, array in arrays.items()})


def array_record(arrays: Mapping[str, Array]) -> ArrayRecord:
    """Make a record around these very arrays, in their order; ``ArrayRecord(dict)`` would serialise each of them.

    Raises:
        TypeError: A name is not text, or an array is not an ``Array``.
    """
    record = _NO_ARRAYS.copy()
    if set(map(type, arrays)) <= _TEXT and set(map(type, arrays.values())) <= _ARRAYS:
        _fill(record, arrays)
    else:
        record.update(arrays)  # says what is wrong
    return record


def config_record(values: Mapping[str, ConfigRecordValues]) -> ConfigRecord:
    """Make a config record; quicker than Flower's constructor where all values are plain scalars.

    Raises:
        TypeError: A name is not text, or a value is of a type that no config may hold.
    """
    if not (set(map(type, values)) <= _TEXT and set(map(type, values.values())) <= _CONFIG_SCALARS):
        return ConfigRecord(dict(values))
    record = _NO_CONFIG.copy()
    _fill(record, values)
    return record


def metric_record(values: Mapping[str, MetricRecordValues]) -> MetricRecord:
    """Make a metric record; quicker than Flower's constructor where all values are plain numbers.

    Raises:
        TypeError: A name is not text, or a value is neither a number nor a list of numbers.
    """
    if not (set(map(type, values)) <= _TEXT and set(map(type, values.values())) <= _METRIC_SCALARS):
        return MetricRecord(dict(values))
    record = _NO_METRICS.copy()
    _fill(record, values)
    return record


def record_dict(records: Mapping[str, Record]) -> RecordDict:
    """Make a ``RecordDict``; quicker than Flower's constructor.

    Raises:
        TypeError: A name is not text, or a record is not one.
    """
    made = _NO_RECORDS.copy()
    if set(map(type, records)) <= _TEXT and set(map(type, records.values())) <= _RECORDS:
        _fill(made, records)
    else:
        made.update(records)  # says what is wrong
    return made


def first_of(records: RecordDict, kind: type[R]) -> R | None:
    """Return the first record of a kind; ``RecordDict``'s own properties build a dictionary of all at each call."""
    return next((record for record in records.values() if isinstance(record, kind)), None)


def copy_record(record: Record) -> Record:
    """Copy a record, not its arrays: whoever edits the copy leaves the original alone."""
    return record.copy()


def values_of(record: Record) -> dict[str, Any]:
    """Return a copy of what a record holds; ``dict(record)`` asks Flower for each value by itself."""
    return dict(_data_of(record))


# Empty ones to copy: Flower's constructors look at all the ways there are to call them.
_NO_ARRAYS, _NO_METRICS, _NO_CONFIG, _NO_RECORDS = ArrayRecord(), MetricRecord(), ConfigRecord(), RecordDict()
_RECORDS = frozenset({ArrayRecord, MetricRecord, ConfigRecord})
_ARRAYS = frozenset({Array, BufferArray})
_TEXT = frozenset({str})
_CONFIG_SCALARS = frozenset({bool, int, float, str, bytes})
_METRIC_SCALARS = frozenset({int, float})


def _data_of(record: Record | RecordDict) -> dict[str, Any]:
    """Return the dictionary inside of a record. ``_data`` is Flower's name; a test holds what is made of it."""
    return cast("dict[str, Any]", record.__dict__["_data"])


def _fill(record: Record | RecordDict, values: Mapping[str, Any]) -> None:
    """Put values that are of the right types into an empty record at once.

    Flower's records check each value as it is set, at several microseconds each: for the forty values of a signed
    update that is dearer than its signature's verification. A test holds the result against the public constructors.
    """
    _data_of(record).update(values)


@functools.lru_cache(maxsize=64)
def _dtype_text(dtype: np.dtype[Any]) -> str:
    return str(dtype)


def from_array_record(record: Mapping[str, Array]) -> dict[str, AnyArray]:
    """Decode every array of a record; those that never left this machine are read-only views.

    Raises:
        Exception: numpy refuses hostile bytes with ValueError, EOFError, TokenError and others; a caller at a trust
            boundary catches them all and refuses the reply.
    """
    return {name: array.view() if type(array) is BufferArray else array.numpy() for name, array in record.items()}


def read_array(array: Array) -> AnyArray:
    """Decode an array of unknown origin as a read-only view, whatever its metadata says.

    Raises:
        ValueError: The array is not numbers in numpy's format.
    """
    if isinstance(array, BufferArray):
        return array.view()
    if array.stype != NUMPY_STYPE:
        raise ValueError(f"an array is in the serialisation {str(array.stype)[:40]!r} instead of {NUMPY_STYPE!r}")
    return read_npy(array.data)


def flatten_records(
    records: RecordDict, *, without: str = ""
) -> tuple[dict[str, AnyArray], dict[str, MetricRecordValues | ConfigRecordValues]]:
    """Name every value of every record, as signatures cover them; ``without`` is the record that holds the signature.

    The name of a record is part of each of its values' names, with its length before it, so that no two contents have
    the same names; each record stands among the values with its kind, so that an empty one counts too. The arrays of
    a lone array record keep their own names: their digest is the model's.

    Returns:
        The arrays, decoded as by ``read_array``, and all other values.

    Raises:
        ValueError: An array is not numbers in numpy's format.
    """
    arrays: dict[str, AnyArray] = {}
    values: dict[str, MetricRecordValues | ConfigRecordValues] = {}
    is_lone = sum(isinstance(record, ArrayRecord) for name, record in records.items() if name != without) == 1
    for name, record in records.items():
        if name == without:
            continue
        prefix = f"{len(name)}:{name}"
        values[prefix] = type(record).__name__
        if isinstance(record, ArrayRecord):
            stem = "" if is_lone else f"{prefix}:"
            arrays.update({f"{stem}{key}": read_array(array) for key, array in record.items()})
        else:
            values.update({f"{prefix}:{key}": value for key, value in record.items()})
    return arrays, values


def encode_records(records: RecordDict) -> bytes:
    """Write a ``RecordDict`` as bytes: every kind of record, every scalar, every dtype, in order.

    Raises:
        TypeError: An array holds Python objects.
        ValueError: A whole number does not fit in 64 bits.
    """
    return b"".join(encode_parts(records))


def encode_parts(records: RecordDict) -> list[bytes | bytearray | memoryview]:
    """Write a ``RecordDict`` as the pieces that ``encode_records`` joins; arrays are views of their memory.

    Raises:
        TypeError: An array holds Python objects.
        ValueError: A whole number does not fit in 64 bits.
    """
    head: list[tuple[str, str, object]] = []
    buffers: list[bytes | memoryview] = []
    for name, record in records.items():
        if isinstance(record, ArrayRecord):
            head.append((name, "a", [_array_head(key, array, buffers) for key, array in record.items()]))
        elif isinstance(record, MetricRecord):
            head.append((name, "m", list(record.items())))
        elif isinstance(record, ConfigRecord):
            head.append((name, "c", list(record.items())))
        else:
            raise TypeError(f"a RecordDict cannot hold a {type(record).__name__}")
    try:
        packed = msgpack.packb(head, use_bin_type=True)
    except OverflowError as error:
        raise ValueError("a whole number in the records does not fit in 64 bits") from error
    parts: list[bytes | bytearray | memoryview] = [struct.pack(">Q", len(packed)), packed]
    offset = 8 + len(packed)
    for buffer in buffers:
        padding = -offset % _ALIGNMENT
        parts += [bytes(padding), buffer]
        offset += padding + len(buffer)
    return parts


def decode_records(data: bytes | bytearray | memoryview) -> RecordDict:
    """Read what ``encode_records`` wrote; arrays are views of ``data``, nothing is copied.

    Raises:
        ValueError: The bytes are truncated or are not of this form.
    """
    try:
        return _decode(memoryview(data))
    except Exception as error:  # bytes of another form fail in msgpack, numpy and Flower in as many ways
        if isinstance(error, ValueError) and str(error):
            raise
        raise ValueError(f"malformed records: {error or type(error).__name__}") from error


def _decode(view: memoryview) -> RecordDict:
    if len(view) < 8:
        raise ValueError("truncated records: no length")
    (head_bytes,) = struct.unpack(">Q", view[:8])
    if head_bytes > min(_MAX_HEAD_BYTES, len(view) - 8):
        raise ValueError("truncated records: the head is longer than the data")
    head = msgpack.unpackb(view[8 : 8 + head_bytes], raw=False, strict_map_key=False)
    records: dict[str, Record] = {}
    offset = 8 + head_bytes
    for name, kind, items in head:
        if kind == "a":
            arrays: dict[str, Array] = {}
            for key, dtype, shape, stype, num_bytes in items:
                offset += -offset % _ALIGNMENT
                body = view[offset : offset + num_bytes]
                if len(body) != num_bytes:
                    raise ValueError(f"truncated records: array {key!r} is cut short")
                offset += num_bytes
                arrays[key] = _read_array(dtype, tuple(shape), stype, body)
            records[name] = array_record(arrays)
        elif kind in ("m", "c"):
            records[name] = metric_record(dict(items)) if kind == "m" else config_record(dict(items))
        else:
            raise ValueError(f"unknown kind of record {kind!r}")
    return record_dict(records)


def _array_head(key: str, array: Array, buffers: list[bytes | memoryview]) -> tuple[object, ...]:
    if isinstance(array, BufferArray):
        values = array.view()
        if values.dtype.hasobject:
            raise TypeError(f"array {key!r} holds Python objects, which are never sent")
        raw = np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
        buffers.append(raw)
        return (key, values.dtype.str, values.shape, "", len(raw))
    buffers.append(array.data)
    return (key, array.dtype, array.shape, array.stype, len(array.data))


def _read_array(dtype: str, shape: tuple[int, ...], stype: str, body: memoryview) -> Array:
    if not isinstance(dtype, str) or any(type(length) is not int or length < 0 for length in shape):
        raise ValueError("malformed records: an array has no dtype or no shape")
    if stype:
        return Array(dtype=dtype, shape=shape, stype=stype, data=bytes(body))
    kind = np.dtype(dtype)
    if kind.hasobject:
        raise ValueError("an array of Python objects is never read")
    return BufferArray(np.frombuffer(body, dtype=kind).reshape(shape))
