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
    missing: dict[str, int] = field(init=False)  # those of ``expected`` that nobody answered yet, in order

    def __post_init__(self) -> None:
        self.missing = dict(self.expected)

    def add(self, message_id: str, *, is_accepted: bool) -> bool:
        """Take one reply; False when it answers nothing that is still open (a duplicate, or a stranger's)."""
        if self.missing.pop(message_id, None) is None:
            return False
        self.accepted += is_accepted
        return True

    def is_over(self, now: float) -> bool:
        """Tell whether the phase ends now."""
        return not self.missing or self.accepted >= self.enough or now >= self.deadline

    def seconds_left(self, now: float) -> float:
        """Seconds until the deadline, at least 0."""
        return max(0.0, self.deadline - now)
