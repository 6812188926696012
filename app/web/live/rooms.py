"""The rooms of the live channel and the one form of its messages."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

OVERVIEW, EVENTS = "overview", "events"
_RUN = re.compile(r"run:([A-Za-z0-9][A-Za-z0-9._-]{0,127})")


def run_room(run_id: str) -> str:
    """Return the room of one run."""
    return f"run:{run_id}"


def run_of(room: str) -> str | None:
    """Return the run a room is about, None for another room."""
    found = _RUN.fullmatch(room)
    return found[1] if found else None


def is_room(room: str) -> bool:
    """Tell whether there can be such a room."""
    return room in (OVERVIEW, EVENTS) or run_of(room) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What a room is told."""

    room: str
    seq: int  # of the run's events, or of all events' ids
    type: str
    run: str | None
    data: dict[str, Any]

    def to_json(self, ts: float) -> dict[str, Any]:
        """Return the envelope."""
        return {"room": self.room, "seq": self.seq, "ts": ts, "type": self.type, "run": self.run, "data": self.data}


def plain(view: BaseModel) -> dict[str, Any]:
    """Return a view as JSON values; what JSON cannot hold is null."""
    found: dict[str, Any] = json.loads(view.model_dump_json())
    return found


def plain_all(views: Iterable[BaseModel]) -> list[dict[str, Any]]:
    """Return views as JSON values."""
    return [plain(view) for view in views]
