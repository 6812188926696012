"""A strategy that talks to its clients several times in one round: secure aggregation shares keys before it trains."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeGuard

from flwr.app import ArrayRecord, ConfigRecord, Message
from flwr.serverapp import Grid


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One exchange before the training requests go out."""

    name: str  # a Python identifier: the message type is "train.NAME"
    timeout_s: float
    min_replies: int  # accepted replies below which the round keeps the old model
    quorum: float = 1.0  # share of the asked clients whose accepted replies end the stage

    @property
    def phase(self) -> str:
        """The stage's name in events, signatures and message types."""
        return f"train.{self.name}"


class MultiStage(Protocol):
    """What a strategy offers beside Flower's own methods: its stages run in order, then train, then evaluate."""

    def stages(self, server_round: int) -> Sequence[Stage]:
        """Return the stages before training."""

    def configure_stage(
        self, stage: Stage, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Make the requests of one stage."""

    def finish_stage(self, stage: Stage, server_round: int, replies: Sequence[Message]) -> None:
        """Take the accepted replies of one stage, for the next one to use."""


def has_stages(strategy: object) -> TypeGuard[MultiStage]:
    """Tell whether a strategy, or one that it wraps and whose attributes it passes on, has stages.

    Not ``isinstance``: from Python 3.12 on that looks at the class alone.
    """
    return all(hasattr(strategy, name) for name in ("stages", "configure_stage", "finish_stage"))
