"""How long to wait before trying again, and before looking again: pure, with no clock of its own."""

from __future__ import annotations

import random
from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class Backoff:
    """Pauses that double up to a longest one, each drawn from its upper half.

    The jitter keeps a thousand nodes from coming back in the same second after their server's restart ("equal jitter",
    Brooker, AWS Architecture Blog, 2015: never less than half, so that nobody hammers).
    """

    first_s: float = 0.2
    longest_s: float = 30.0
    rng: random.Random
    _next_s: float = field(init=False)

    def __post_init__(self) -> None:
        """Begin with the shortest pause."""
        self._next_s = self.first_s

    def pause(self) -> float:
        """Return how many seconds to wait now, and wait longer next time."""
        top = self._next_s
        self._next_s = min(self.longest_s, top * 2)
        return self.rng.uniform(top / 2, top)

    def worked(self) -> None:
        """Begin again with the shortest pause."""
        self._next_s = self.first_s


@dataclass(slots=True, kw_only=True)
class Poll:
    """The pause before the next look for a message: each look costs the SuperLink a query.

    Soon after an answer, when the next phase is about to begin, and rarer the longer nothing comes.
    """

    first_s: float = 0.02
    longest_s: float = 0.5
    growth: float = 1.25
    _next_s: float = field(init=False)

    def __post_init__(self) -> None:
        """Begin with the shortest pause."""
        self._next_s = self.first_s

    def pause(self) -> float:
        """Return how many seconds to wait now, and wait longer next time."""
        pause = self._next_s
        self._next_s = min(self.longest_s, pause * self.growth)
        return pause

    def found(self) -> None:
        """Look soon again."""
        self._next_s = self.first_s
