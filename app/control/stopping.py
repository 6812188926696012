"""How a run is brought to an end: asked, then interrupted, then told, then killed. A state machine without I/O."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Measure(Enum):
    """What to do to a run that was asked to stop and is still there."""

    INTERRUPT = "SIGINT"  # as Ctrl-C: the round is given up, workers are ended, the run is closed
    TERMINATE = "SIGTERM"
    KILL = "SIGKILL"  # it and every process it started


@dataclass(frozen=True, slots=True, kw_only=True)
class Grace:
    """How long each measure gets before the next."""

    asked_s: float = 20.0  # the control file is read between phases and while replies are collected
    interrupted_s: float = 10.0
    terminated_s: float = 10.0


class Stopping:
    """One run on its way to its end."""

    def __init__(self, now: float, grace: Grace, *, is_asked: bool = True) -> None:
        """Begin when the run was asked; with ``is_asked`` False it could not be, and is interrupted at once."""
        first = now + (grace.asked_s if is_asked else 0.0)
        self._measures = [
            (first, Measure.INTERRUPT),
            (first + grace.interrupted_s, Measure.TERMINATE),
            (first + grace.interrupted_s + grace.terminated_s, Measure.KILL),
        ]

    def due(self, now: float) -> Measure | None:
        """Return the measure whose time has come, each once; killing is repeated until the run is gone."""
        found = None
        while self._measures and now >= self._measures[0][0]:
            found = self._measures[0][1]
            if found is Measure.KILL:
                break
            self._measures.pop(0)
        return found

    def seconds_to_force(self, now: float) -> float:
        """Return how long the run still has until it is killed."""
        return max(0.0, self._measures[-1][0] - now)
