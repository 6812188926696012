"""The tables of a run, as values: rounds, clients, refusals, and the summary.

"Updates" are replies that train the model; evaluation replies are counted apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from monitor.privacy import Privacy
from monitor.rows import Row
from monitor.tally import Refusal, Spread


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundRow:
    """One round; round 0 is the initial model. Counts are of updates unless they say otherwise."""

    server_round: int
    attempt: int = 1
    is_closed: bool = False
    loss: float | None = None  # global model, central test set
    accuracy: float | None = None
    client_loss: Spread | None = None  # global model, the clients' own test data
    client_accuracy: Spread | None = None
    train_loss: float | None = None  # the strategy's aggregate of what the clients report
    train_accuracy: float | None = None
    accepted: int = 0
    rejected: int = 0
    late: int = 0
    capped: int = 0
    evaluations_accepted: int = 0
    evaluations_rejected: int = 0
    evaluations_late: int = 0
    num_examples: int = 0  # behind the accepted updates
    collect_seconds: float = 0.0  # waiting for the clients' training
    aggregate_seconds: float = 0.0
    evaluate_seconds: float = 0.0  # central and client-side
    checkpoint_seconds: float = 0.0
    seconds: float = 0.0  # of the whole round; 0 while it is open
    kept_old_model: bool = False
    model_digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientRow:
    """One client over all rounds."""

    client: str
    histogram: tuple[int, ...] = ()  # examples of each class; empty when not known
    num_examples: int | None = None  # what it holds, or last claimed
    asked: int = 0  # rounds in which it was asked to train
    accepted: int = 0
    rejected: int = 0
    late: int = 0
    capped: int = 0
    loss: float | None = None  # its last one: on its own test data, or else in training
    accuracy: float | None = None
    norm: float | None = None  # of its last update
    mean_seconds: float | None = None  # from request to reply
    num_bytes: int = 0
    rejections: Mapping[str, int] = field(default_factory=dict)  # every phase, by reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The run in a few figures."""

    state: str  # completed, stopped, failed, interrupted, or "unfinished" when the events break off
    error: str = ""
    rounds_completed: int = 0
    loss: float | None = None  # of the last closed round: central test set, or else the clients' mean
    accuracy: float | None = None
    initial_accuracy: float | None = None
    best_accuracy: float | None = None
    best_round: int = 0
    updates_accepted: int = 0
    updates_rejected: int = 0
    updates_late: int = 0
    updates_capped: int = 0
    evaluations_accepted: int = 0
    evaluations_rejected: int = 0
    rounds_without_update: int = 0  # rounds that kept the old model
    rejections: Mapping[str, int] = field(default_factory=dict)  # of updates, by reason, most frequent first
    seconds_total: float = 0.0  # of all starts of the run together
    seconds_rounds: float = 0.0
    num_bytes: int = 0  # received from clients
    num_starts: int = 1
    model_digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSeries:
    """All tables of one run."""

    run: str
    started_ts: float | None
    config: Row
    num_clients: int
    num_parameters: int
    workers: int
    class_names: tuple[str, ...]
    rounds: tuple[RoundRow, ...]  # by round
    clients: tuple[ClientRow, ...]  # as the run named them, then by first sight
    refusals: tuple[Refusal, ...]  # every phase, in order
    summary: Summary
    privacy: Privacy | None = None  # where training was private

    @property
    def has_histograms(self) -> bool:
        """Whether it is known how the data is spread over the clients."""
        return any(client.histogram for client in self.clients)
