"""Follows the events of a run that another process writes, as values again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from monitor.sinks import Row, parse_row
from shared.config import key_of
from shared.events import EVENT_TYPES, Envelope, Event


class EventStream:
    """Reads a growing events.jsonl from where the last look ended."""

    def __init__(self, path: Path) -> None:
        """Begin at the end of what is there now: that was told before."""
        self._path = path
        self._offset = path.stat().st_size if path.exists() else 0

    def new(self) -> Iterator[Envelope]:
        """Yield the events that were written since; a line that is not whole yet waits for the next look."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._offset += len(line)
                row = parse_row(line)
                if row is not None and (envelope := envelope_of(row)) is not None:
                    yield envelope


def envelope_of(row: Row) -> Envelope | None:
    """Make the event of a row; None when it is no event of this version."""
    kind = EVENT_TYPES.get(str(row.get("type")))
    seq, ts, run = row.get("seq"), row.get("ts"), row.get("run")
    if kind is None or not isinstance(seq, int) or not isinstance(ts, int | float) or not isinstance(run, str):
        return None
    values = {field.name: row[key_of(field.name)] for field in fields(kind) if key_of(field.name) in row}
    try:
        event: Event = kind(**values)
    except TypeError:  # a field is missing: None is left out of a row, and has a default where it may be
        return None
    return Envelope(seq=seq, ts=float(ts), run=run, event=event)
