"""Typed access to event rows, as ``events.jsonl`` holds them: what is missing or of another type reads as nothing.

A file may come from another version, or a client may have named a metric oddly: a report is written all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from monitor.metrics import as_number
from shared.events import Envelope, JsonValue

Row = Mapping[str, JsonValue]


def rows_of(envelopes: Iterable[Envelope]) -> list[Row]:
    """Turn events in memory into the rows a file would hold."""
    return [envelope.to_json() for envelope in envelopes]


def text(row: Row, key: str) -> str:
    """Return a text, "" when there is none."""
    value = row.get(key)
    return value if isinstance(value, str) else ""


def number(row: Row, key: str) -> float | None:
    """Return a finite number, or None."""
    return as_number(row.get(key))


def seconds(row: Row, key: str = "seconds") -> float:
    """Return a duration, 0 when there is none."""
    return max(0.0, as_number(row.get(key)) or 0.0)


def whole(row: Row, key: str, default: int = 0) -> int:
    """Return a whole number, or ``default``."""
    value = row.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def mapping(row: Row, key: str) -> Row:
    """Return an object, empty when there is none."""
    value = row.get(key)
    return value if isinstance(value, dict) else {}


def names(row: Row, key: str) -> list[str]:
    """Return a list's texts, in order."""
    value = row.get(key)
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def counts(row: Row, key: str) -> dict[str, list[int]]:
    """Return an object of lists of whole numbers (histograms); lists with anything else are left out."""
    found = {}
    for name, values in mapping(row, key).items():
        if isinstance(values, list) and all(isinstance(item, int) and item >= 0 for item in values):
            found[name] = [int(item) for item in values if isinstance(item, int)]
    return found
