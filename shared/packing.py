"""Flat packing: the records of a message as one, so that a network carries few objects in place of many.

Flower sends each record, each array and each of an array's pieces as an object with an HTTP call of its own: 21 for
a small network with eight tensors. Packed, a message of ours is three to six. Both ends are ours; a client packs its
reply if, and only if, the request was packed.
"""

from __future__ import annotations

from collections.abc import Sequence

from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from shared.records import Record, decode_records, encode_records, record_dict

PACKED = "constellation.packed"  # the name of the one record
_KEY = "records"
_STYPE = "constellation.records"  # of the array form: no numpy, and nobody may take it for numpy
_MAX_SMALL_BYTES = 1024 * 1024  # up to here as a value of a config record: one object instead of three


def is_packed(records: RecordDict) -> bool:
    """Tell whether ``pack`` made this."""
    return PACKED in records


def pack(records: RecordDict, apart: Sequence[str] = ()) -> RecordDict:
    """Pack all records but those named in ``apart``, which differ from client to client where the rest does not.

    Raises:
        TypeError: An array holds Python objects.
    """
    rest = {name: record for name, record in records.items() if name not in apart}
    own: dict[str, Record] = {name: records[name] for name in apart if name in records}
    return record_dict({PACKED: packed_record(record_dict(rest)), **own})


def packed_record(records: RecordDict) -> Record:
    """Write records as one record; the same one may stand in many messages.

    Raises:
        TypeError: An array holds Python objects.
    """
    data = encode_records(records)
    if len(data) <= _MAX_SMALL_BYTES:
        return ConfigRecord({_KEY: data})
    return ArrayRecord({_KEY: Array(dtype="uint8", shape=(len(data),), stype=_STYPE, data=data)})


def unpack(records: RecordDict) -> RecordDict:
    """Undo ``pack``; arrays are views of what came.

    Raises:
        ValueError: It is not what ``pack`` makes.
    """
    packed = records.get(PACKED)
    data = packed.get(_KEY) if isinstance(packed, ConfigRecord | ArrayRecord) else None
    if isinstance(data, Array):
        data = data.data if data.stype == _STYPE else None
    if not isinstance(data, bytes):
        raise ValueError(f"the record {PACKED!r} holds no records")
    found: dict[str, Record] = dict(decode_records(data))
    for name, record in records.items():
        if name == PACKED:
            continue
        if name in found:
            raise ValueError(f"the record {name!r} came twice")
        found[name] = record
    if PACKED in found:
        raise ValueError("packed records are packed once")
    return record_dict(found)
