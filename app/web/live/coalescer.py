"""Decides when a room is told that something changed: at once, then at most so often. No clock, no I/O."""

from __future__ import annotations

INTERVAL_S = 0.25  # at most four messages a second and room: more than eyes can follow costs viewers their battery


class Coalescer:
    """Remembers which rooms have news, and when each was told last.

    The first news of a quiet room goes out at once (leading edge); what comes within the interval goes out together at
    its end (trailing edge), so the last state is never kept back.
    """

    def __init__(self, interval_s: float = INTERVAL_S) -> None:
        self._interval_s = interval_s
        self._told_at: dict[str, float] = {}
        self._has_news: dict[str, None] = {}  # in the order in which they got news

    def touch(self, room: str) -> None:
        """Note that there is something to tell."""
        self._has_news.setdefault(room)

    def due(self, now: float) -> list[str]:
        """Return the rooms to tell now, and take them as told."""
        rooms = [room for room in self._has_news if self._due_at(room) <= now]
        for room in rooms:
            del self._has_news[room]
        self._told_at = {room: at for room, at in self._told_at.items() if now < at + self._interval_s}
        self._told_at.update(dict.fromkeys(rooms, now))
        return rooms

    def wait_s(self, now: float) -> float | None:
        """Return how long nothing is due, None when there is no news at all."""
        if not self._has_news:
            return None
        return max(0.0, min(self._due_at(room) for room in self._has_news) - now)

    def _due_at(self, room: str) -> float:
        return self._told_at.get(room, float("-inf")) + self._interval_s
