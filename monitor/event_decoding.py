"""Makes events again out of what was written down or sent, for views that take events. What does not fit is no event.

The sender may be another version, or not be ours at all: every value is checked against its field's type.
"""

from __future__ import annotations

import functools
import math
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields

from shared.config import key_of
from shared.events import EVENT_TYPES, Envelope, Event, JsonValue

Row = Mapping[str, JsonValue]
_Read = Callable[[JsonValue], object]


def envelope_of(row: Row) -> Envelope | None:
    """Read one flat row as ``events.jsonl`` holds it; None when it is no event of this version."""
    seq, ts, run, kind = row.get("seq"), row.get("ts"), row.get("run"), row.get("type")
    known = EVENT_TYPES.get(kind) if isinstance(kind, str) else None
    if known is None or not isinstance(run, str):
        return None
    try:
        return Envelope(seq=_whole(seq), ts=_number(ts), run=run, event=_event(known, row))
    except (TypeError, ValueError, OverflowError):
        return None


def _event(kind: type[Event], row: Row) -> Event:
    values = {name: read(row[key]) for name, key, read in _READERS[kind.type]() if key in row}
    return kind(**values)  # what is missing and has no default is a TypeError


def _readers(kind: type[Event]) -> tuple[tuple[str, str, _Read], ...]:
    hints = typing.get_type_hints(kind)
    return tuple(
        (field.name, key_of(field.name), _reader(hints[field.name], is_optional=field.default is not MISSING))
        for field in fields(kind)
    )


def _reader(hint: object, *, is_optional: bool) -> _Read:
    if isinstance(hint, types.UnionType) and is_optional:  # "float | None = None"
        (inner,) = (part for part in typing.get_args(hint) if part is not types.NoneType)
        read = _reader(inner, is_optional=False)
        return lambda value: None if value is None else read(value)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is list:
        return functools.partial(_list, _reader(arguments[0], is_optional=False))
    if origin is dict:
        return functools.partial(_numbers if arguments[1] is float else _mapping, _reader_of_value(arguments[1]))
    if origin is Mapping:
        return functools.partial(_mapping, lambda value: value)
    return _PLAIN[hint]  # a hint that stands in no event yet is a KeyError in the tests


def _reader_of_value(hint: object) -> _Read:
    return _reader(hint, is_optional=False)


def _list(read: _Read, value: JsonValue) -> list[object]:
    if not isinstance(value, list):
        raise TypeError
    return [read(item) for item in value]


def _mapping(read: _Read, value: JsonValue) -> dict[str, object]:
    if not isinstance(value, dict):
        raise TypeError
    return {name: read(item) for name, item in value.items()}


def _numbers(read: _Read, value: JsonValue) -> dict[str, object]:
    """Read metrics: those that JSON could not hold (NaN, written as null) are left out."""
    if not isinstance(value, dict):
        raise TypeError
    return {name: read(item) for name, item in value.items() if item is not None}


def _text(value: JsonValue) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _whole(value: JsonValue) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError
    return value


def _number(value: JsonValue) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError
    found = float(value)
    if not math.isfinite(found):
        raise ValueError
    return found


def _flag(value: JsonValue) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


_PLAIN: Mapping[object, _Read] = {str: _text, int: _whole, float: _number, bool: _flag}

# Made at first use: reading the hints of all events takes milliseconds that a command which shows none need not spend.
_READERS: Mapping[str, Callable[[], tuple[tuple[str, str, _Read], ...]]] = {
    name: functools.cache(functools.partial(_readers, kind)) for name, kind in EVENT_TYPES.items()
}
