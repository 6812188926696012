"""When a phase of a round is over: pure rules, no clock and no network."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class RoundState(StrEnum):
    """Where a round stands."""

    OPEN = "open"
    COLLECTING = "collecting"
    AGGREGATING = "aggregating"
    CLOSED = "closed"


@dataclass(slots=True, kw_only=True)
class Collection:
    """The replies of one phase as they come in.

    A phase is over when everybody answered, when ``enough`` replies were accepted, or at the deadline.
    """

    expected: dict[str, int]  # message id -> node id
    deadline: float  # in the caller's clock, seconds
    enough: int  # accepted replies after which the rest is not waited for
    accepted: int = 0
    answered: set[str] = field(default_factory=set)

    @property
    def missing(self) -> list[str]:
        """Message ids that nobody answered yet, in the order they were sent."""
        return [message_id for message_id in self.expected if message_id not in self.answered]

    def add(self, message_id: str, *, is_accepted: bool) -> bool:
        """Take one reply; False when it answers nothing that is still open (a duplicate, or a stranger's)."""
        if message_id not in self.expected or message_id in self.answered:
            return False
        self.answered.add(message_id)
        self.accepted += is_accepted
        return True

    def is_over(self, now: float) -> bool:
        """Tell whether the phase ends now."""
        everybody = len(self.answered) == len(self.expected)
        return everybody or self.accepted >= self.enough or now >= self.deadline

    def seconds_left(self, now: float) -> float:
        """Seconds until the deadline, at least 0."""
        return max(0.0, self.deadline - now)
