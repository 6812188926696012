"""How often to look at something that cannot wake us: soon at first, then less and less often."""

from __future__ import annotations

from dataclasses import dataclass, field

_GROWTH = 1.5


@dataclass(slots=True, kw_only=True)
class Backoff:
    """The pause before the next look; a SuperLink is asked over HTTP, and each look costs it a query."""

    first_s: float
    longest_s: float
    _next_s: float = field(init=False)

    def __post_init__(self) -> None:
        """Begin with the shortest pause."""
        self._next_s = self.first_s

    def pause(self) -> float:
        """Return how many seconds to wait now, and wait longer next time."""
        pause = self._next_s
        self._next_s = min(self.longest_s, pause * _GROWTH)
        return pause

    def found(self) -> None:
        """Look soon again: what was there is seldom alone."""
        self._next_s = self.first_s
