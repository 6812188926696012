"""Checks event rows from outside before anything is written: every field's type, range and length.

What only the training process can say (names, rounds, counts) must be right, or the call is refused whole. What a
client's words went into (details, metrics and their names, example counts) is cut instead: one hostile client must not
be able to keep a run's events out of the store. Kinds of events that this version does not know are kept, not looked
into.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from app.storage.values import Row
from shared.errors import BadEvent
from shared.events import JsonValue

MAX_ROWS = 1_000  # of one call: bounds its memory and how long it holds the write lock
MAX_EVENT_CHARS = 4 * 1024 * 1024  # of one event as JSON: a phase of 10,000 clients with long names
MAX_NAME = 200
MAX_TEXT = 2_000  # of a detail that is shown
MAX_METRICS = 64  # of one reply
MAX_CLIENTS = 20_000  # named by one event
MAX_CLASSES = 1_000
MAX_SETTINGS = 500
MAX_ROUND = 10**9
MAX_COUNT = 2**53  # what every reader of JSON holds exactly
MAX_ADDED = 2**40  # of what is added up over a run: a million of them fit into a column
MAX_SECONDS = 1e10
RUN_ENDINGS = ("completed", "stopped", "failed", "interrupted")

_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"))  # ASCII: what is odd stays escaped
_ENVELOPE = ("seq", "ts", "run", "type")

Check = Callable[[JsonValue], str | None]


@dataclass(frozen=True, slots=True)
class CheckedEvent:
    """One event whose fields are what they should be."""

    seq: int
    ts: float
    type: str
    row: Row
    data: str  # its own fields, as JSON


def check_rows(run: str, rows: Sequence[Row]) -> list[CheckedEvent]:
    """Check the rows of one call, which belong to one run and ascend by ``seq``; holes inside are allowed.

    Raises:
        BadEvent: Names the first field that is wrong, as a path.
    """
    require_name("run", run)
    if len(rows) > MAX_ROWS:
        raise BadEvent("events", f"at most {MAX_ROWS} rows a call, got {len(rows)}")
    events = [_checked(f"events[{index}]", run, row) for index, row in enumerate(rows)]
    for index in range(1, len(events)):
        if events[index].seq < events[index - 1].seq:
            raise BadEvent(f"events[{index}].seq", "rows must ascend by seq")
    return events


def require_name(path: str, value: object, *, maximum: int = MAX_NAME) -> str:
    """Return a name that is text of a fair length and not empty.

    Raises:
        BadEvent: It is not.
    """
    problem = _name(value) if value != "" else "must not be empty"  # type: ignore[arg-type]
    if problem is None and isinstance(value, str) and len(value) <= maximum:
        return value
    raise BadEvent(path, problem or f"must be at most {maximum} characters")


def readable(text: str, limit: int = MAX_TEXT) -> str:
    """Cut a text and replace what a database cannot hold: NUL, and halves of surrogate pairs."""
    text = text[:limit]
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "�").encode("utf-8", "replace").decode("utf-8")


def to_json(value: object) -> str:
    """Write JSON as the tables hold it."""
    return _ENCODER.encode(value)


def _checked(path: str, run: str, row: Row) -> CheckedEvent:
    if not isinstance(row, Mapping):
        raise BadEvent(path, "must be an object")
    seq, ts, kind = row.get("seq"), row.get("ts"), row.get("type")
    for key, problem in (("seq", _seq(seq)), ("ts", _ts(ts)), ("type", _name(kind) or (not kind and "is missing"))):
        if problem:
            raise BadEvent(f"{path}.{key}", problem)
    if row.get("run") != run:
        raise BadEvent(f"{path}.run", f"must be {run}, the run of this call")
    for key, is_needed, check in FIELDS.get(kind, ()):  # type: ignore[arg-type] # checked above
        value = row.get(key)
        if value is None:
            if is_needed:
                raise BadEvent(f"{path}.{key}", "is missing")
        elif (problem := check(value)) is not None:
            raise BadEvent(f"{path}.{key}", problem)
    data = _data(path, row)
    return CheckedEvent(seq, float(ts), kind, row, data)  # type: ignore[arg-type] # checked above


def _data(path: str, row: Row) -> str:
    try:
        data = _ENCODER.encode({key: value for key, value in row.items() if key not in _ENVELOPE})
    except (ValueError, TypeError, RecursionError) as error:  # NaN and infinity, which JSON has not; depth
        raise BadEvent(path, f"cannot be written as JSON: {error}") from None
    if len(data) > MAX_EVENT_CHARS:
        raise BadEvent(path, f"must be at most {MAX_EVENT_CHARS} characters as JSON, got {len(data)}")
    return data


def _whole(value: JsonValue, low: int, high: int) -> str | None:
    if type(value) is int and low <= value <= high:
        return None
    return f"must be a whole number from {low} to {high}"


def _seq(value: JsonValue) -> str | None:
    return _whole(value, 1, MAX_COUNT)


def _round(value: JsonValue) -> str | None:
    return _whole(value, 0, MAX_ROUND)


def _from_one(value: JsonValue) -> str | None:
    return _whole(value, 1, MAX_ROUND)


def _count(value: JsonValue) -> str | None:
    return _whole(value, 0, MAX_COUNT)


def _added(value: JsonValue) -> str | None:
    return _whole(value, 0, MAX_ADDED)


def _claimed(value: JsonValue) -> str | None:
    """A client says how many examples it has; what is beyond belief is cut where it is counted."""
    return None if type(value) is int and value >= 0 else "must be a whole number from 0"


def _number(value: JsonValue) -> str | None:
    if type(value) is float and math.isfinite(value):
        return None
    if type(value) is int and abs(value) <= MAX_COUNT:
        return None
    return "must be a finite number"


def _seconds(value: JsonValue) -> str | None:
    if _number(value) is None and 0 <= value <= MAX_SECONDS:  # type: ignore[operator] # a number, as just found
        return None
    return f"must be seconds from 0 to {MAX_SECONDS:g}"


_ts = _seconds


def _flag(value: JsonValue) -> str | None:
    return None if isinstance(value, bool) else "must be true or false"


def _name(value: JsonValue) -> str | None:
    if not isinstance(value, str):
        return "must be text"
    if len(value) > MAX_NAME:
        return f"must be at most {MAX_NAME} characters"
    if value.isascii():
        return "must not hold NUL" if "\0" in value else None
    return None if "\0" not in value and _is_unicode(value) else "must be Unicode text without NUL"


def _is_unicode(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _words(value: JsonValue) -> str | None:
    return None if isinstance(value, str) else "must be text"


def _ending(value: JsonValue) -> str | None:
    return None if value in RUN_ENDINGS else f"must be one of {', '.join(RUN_ENDINGS)}"


def _names(value: JsonValue) -> str | None:
    if not isinstance(value, list) or len(value) > MAX_CLIENTS:
        return f"must be a list of at most {MAX_CLIENTS} names"
    return next((problem for name in value if (problem := _name(name)) is not None), None)


def _metrics(value: JsonValue) -> str | None:
    """Metrics are numbers; null is what NaN and infinity became, and an integer beyond floats is taken like it."""
    if not isinstance(value, dict):
        return "must be an object"
    for name, item in value.items():
        if item is not None and type(item) is not int and (problem := _number(item)) is not None:
            return f"{name[:MAX_NAME]}: {problem}"
    return None


def _config(value: JsonValue) -> str | None:
    if not isinstance(value, dict) or len(value) > MAX_SETTINGS:
        return f"must be an object of at most {MAX_SETTINGS} settings"
    for key, item in value.items():
        if len(key) > MAX_NAME:
            return f"the name of a setting must be at most {MAX_NAME} characters"
        if isinstance(item, str):
            continue
        if not isinstance(item, bool) and _number(item) is not None and _whole(item, -(2**63), 2**63 - 1) is not None:
            return f"{key}: must be text, a number, true or false"
    return None


def _class_names(value: JsonValue) -> str | None:
    if isinstance(value, list) and len(value) <= MAX_CLASSES and all(isinstance(name, str) for name in value):
        return None
    return f"must be a list of at most {MAX_CLASSES} texts"


def _histograms(value: JsonValue) -> str | None:
    if not isinstance(value, dict) or len(value) > MAX_CLIENTS:
        return f"must be an object of at most {MAX_CLIENTS} clients"
    for client, counts in value.items():
        if (problem := _name(client)) is not None:
            return problem
        if not isinstance(counts, list) or len(counts) > MAX_CLASSES or any(_count(item) for item in counts):
            return f"{client}: must be a list of at most {MAX_CLASSES} counts"
    return None


def _by_client(value: JsonValue) -> str | None:
    if not isinstance(value, dict) or len(value) > MAX_CLIENTS:
        return f"must be an object of at most {MAX_CLIENTS} clients"
    return next((problem for item in value.items() if (problem := _name(item[0]) or _number(item[1]))), None)


def _unit(value: JsonValue) -> str | None:
    return None if value in ("example", "client") else "must be example or client"


_NEED, _MAY = True, False
_WHERE: tuple[tuple[str, bool, Check], ...] = (("server-round", _NEED, _round), ("phase", _NEED, _name))
_WHO: tuple[tuple[str, bool, Check], ...] = (*_WHERE, ("client", _NEED, _name))

# What each kind of event must and may hold, of the fields that are projected.
FIELDS: Mapping[str, tuple[tuple[str, bool, Check], ...]] = {
    "run-started": (
        ("config", _NEED, _config),
        ("first-round", _MAY, _round),
        ("clients", _MAY, _names),
        ("num-clients", _MAY, _count),
        ("num-parameters", _MAY, _count),
    ),
    "partition-described": (("class-names", _NEED, _class_names), ("histograms", _NEED, _histograms)),
    "run-waiting": (("reason", _NEED, _words),),
    "round-started": (("server-round", _NEED, _from_one), ("attempt", _MAY, _from_one)),
    "phase-started": (*_WHERE, ("clients", _NEED, _names)),
    "update-received": (
        *_WHO,
        ("seconds", _MAY, _seconds),
        ("compute-seconds", _MAY, _seconds),
        ("num-bytes", _MAY, _added),
    ),
    "client-identified": (("server-round", _NEED, _round), ("client", _NEED, _name), ("node-id", _NEED, _name)),
    "update-accepted": (
        *_WHO,
        ("num-examples", _MAY, _claimed),
        ("norm", _MAY, _number),
        ("metrics", _MAY, _metrics),
    ),
    "update-rejected": (*_WHO, ("reason", _NEED, _name), ("detail", _MAY, _words)),
    "update-capped": (("server-round", _NEED, _round), ("client", _NEED, _name)),
    "update-late": (*_WHO, ("seconds", _MAY, _seconds)),
    "phase-ended": (
        *_WHERE,
        ("collect-seconds", _MAY, _seconds),
        ("aggregate-seconds", _MAY, _seconds),
        ("kept-old-model", _MAY, _flag),
        ("metrics", _MAY, _metrics),
    ),
    "model-evaluated": (("server-round", _NEED, _round), ("metrics", _NEED, _metrics), ("seconds", _MAY, _seconds)),
    "clients-evaluated": (
        ("server-round", _NEED, _round),
        ("mean", _NEED, _metrics),
        ("deviation", _MAY, _metrics),
        ("minimum", _MAY, _metrics),
        ("maximum", _MAY, _metrics),
    ),
    "round-closed": (
        ("server-round", _NEED, _round),
        ("seconds", _MAY, _seconds),
        ("checkpoint-seconds", _MAY, _seconds),
        ("model-digest", _MAY, _name),
    ),
    "privacy-spent": (
        ("server-round", _NEED, _round),
        ("unit", _NEED, _unit),
        ("epsilon", _NEED, _number),
        ("epsilon-median", _NEED, _number),
        ("delta", _NEED, _number),
        ("target-epsilon", _MAY, _number),
        ("accountant", _NEED, _name),
        ("noise-multiplier", _NEED, _number),
        ("max-grad-norm", _NEED, _number),
        ("sample-rate", _NEED, _number),
        ("steps", _NEED, _count),
        ("sampler", _NEED, _name),
        ("exhausted-clients", _MAY, _count),
        ("warning", _MAY, _words),
        ("by-client", _MAY, _by_client),
    ),
    "run-ended": (("state", _NEED, _ending), ("seconds", _MAY, _seconds), ("error", _MAY, _words)),
}
