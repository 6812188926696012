"""Who watches: each Socket.IO connection with its state, its rooms and when it was heard of last."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

MAX_ROOMS = 32  # of one viewer: a page needs three; more would let one connection make the server remember at will


@dataclass(slots=True, kw_only=True)
class Viewer:
    """One connection."""

    sid: str
    is_operator: bool
    connected_ts: float
    last_seen_ts: float
    rooms: set[str] = field(default_factory=set)


class Viewers:
    """Counts viewers up to a cap. Thread-safe."""

    def __init__(self, cap: int, now: Callable[[], float]) -> None:
        self.cap = cap
        self._now = now
        self._viewers: dict[str, Viewer] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._viewers)

    def join(self, sid: str, *, is_operator: bool) -> bool:
        """Let somebody watch, unless it is full."""
        now = self._now()
        with self._lock:
            if len(self._viewers) >= self.cap:
                return False
            self._viewers[sid] = Viewer(sid=sid, is_operator=is_operator, connected_ts=now, last_seen_ts=now)
        return True

    def leave(self, sid: str) -> None:
        """Forget somebody."""
        with self._lock:
            self._viewers.pop(sid, None)

    def seen(self, sid: str) -> None:
        """Note a sign of life."""
        with self._lock:
            viewer = self._viewers.get(sid)
            if viewer is not None:
                viewer.last_seen_ts = self._now()

    def enter(self, sid: str, room: str) -> bool:
        """Let a viewer into a room, unless it is in too many."""
        with self._lock:
            viewer = self._viewers.get(sid)
            if viewer is None or (room not in viewer.rooms and len(viewer.rooms) >= MAX_ROOMS):
                return False
            viewer.rooms.add(room)
        return True

    def exit(self, sid: str, room: str) -> None:
        """Let a viewer out of a room."""
        with self._lock:
            viewer = self._viewers.get(sid)
            if viewer is not None:
                viewer.rooms.discard(room)

    def is_watched(self, room: str) -> bool:
        """Tell whether anybody is in the room."""
        with self._lock:
            return any(room in viewer.rooms for viewer in self._viewers.values())

    def all(self) -> list[Viewer]:
        """Return everybody, as of now."""
        with self._lock:
            return [
                Viewer(
                    sid=viewer.sid, is_operator=viewer.is_operator, connected_ts=viewer.connected_ts,
                    last_seen_ts=viewer.last_seen_ts, rooms=set(viewer.rooms),
                )
                for viewer in self._viewers.values()
            ]  # fmt: skip
