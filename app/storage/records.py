"""The rows that events are projected onto, in memory: fields are the columns of ``app.storage.tables``, by name."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any, ClassVar

from app.storage.values import Row

UpdateKey = tuple[int, str, str]  # round, phase, client


@dataclass(slots=True)
class RunRecord:
    """What the events of a run change in its row."""

    state: str = "queued"
    desired_state: str = "run"
    reason: str = ""
    error: str = ""
    config: str = "{}"
    engine: str = ""
    dataset: str = ""
    model: str = ""
    strategy: str = ""
    partition: str = ""
    alpha: float | None = None
    num_clients: int = 0
    num_rounds: int = 0
    num_parameters: int = 0
    last_seq: int = 0
    max_round: int = -1
    current_round: int = 0
    rounds_completed: int = 0
    last_closed: int = -1
    started_ts: float | None = None
    ended_ts: float | None = None
    updated_ts: float = 0.0
    start_ts: float | None = None
    last_ts: float | None = None
    seconds_before: float = 0.0
    ended_seconds: float | None = None
    recent_seconds: str = "[]"
    accuracy: float | None = None
    loss: float | None = None
    best_accuracy: float | None = None
    best_round: int = 0
    spark: str = "{}"
    updates_accepted: int = 0
    updates_rejected: int = 0
    updates_late: int = 0
    rejections: str = "{}"
    bytes_received: int = 0
    epsilon: float | None = None
    delta: float | None = None
    epsilon_unit: str = ""
    privacy: str = ""
    privacy_seq: int = 0


@dataclass(slots=True)
class RoundRecord:
    """One attempt at a round."""

    server_round: int
    seq: int = 0
    attempt: int = 1
    state: str = "open"
    is_closed: bool = False
    started_ts: float | None = None
    seconds: float = 0.0
    phase: str = ""
    phase_ts: float | None = None
    phase_asked: int = 0
    phase_answered: int = 0
    phase_late: int = 0
    loss: float | None = None
    accuracy: float | None = None
    client_loss: str = ""  # a Spread as JSON, once every client has answered
    client_accuracy: str = ""
    clients_evaluated: str = ""  # the event, as JSON
    is_evaluated: bool = False
    train_loss: float | None = None
    train_accuracy: float | None = None
    model_digest: str = ""
    kept_old_model: bool = False
    accepted: int = 0
    rejected: int = 0
    late: int = 0
    capped: int = 0
    num_examples: int = 0  # behind the accepted updates
    evaluations_accepted: int = 0
    evaluations_rejected: int = 0
    evaluations_late: int = 0
    rejections: str = "{}"
    bytes_received: int = 0
    collect_seconds: float = 0.0
    aggregate_seconds: float = 0.0
    evaluate_seconds: float = 0.0
    checkpoint_seconds: float = 0.0
    epsilon: float | None = None


@dataclass(slots=True)
class UpdateRecord:
    """One client's part in one phase."""

    server_round: int
    phase: str
    client: str
    seq: int
    place: int
    attempt: int
    ts: float
    changed_seq: int = 0
    state: str = "waiting"
    asked_ts: float | None = None
    start_s: float = 0.0
    seconds: float | None = None
    compute_seconds: float | None = None
    reason: str = ""
    detail: str = ""
    num_examples: int | None = None
    num_bytes: int | None = None
    norm: float | None = None
    loss: float | None = None
    accuracy: float | None = None
    metrics: str = ""
    times_rejected: int = 0
    times_late: int = 0


@dataclass(slots=True)
class RefusalRecord:
    """One refused reply."""

    seq: int
    server_round: int
    attempt: int
    phase: str
    client: str
    ts: float
    reason: str
    detail: str


@dataclass(slots=True)
class ClientRecord:
    """One client over all rounds."""

    client: str
    sort_key: str
    seq: int = 0
    is_named: bool = False
    state_round: int = -1
    state: str = "idle"
    last_seen_ts: float | None = None
    asked: int = 0
    accepted: int = 0
    rejected: int = 0
    late: int = 0
    claimed_examples: int | None = None
    trained_round: int = -1
    trained_loss: float | None = None
    trained_accuracy: float | None = None
    evaluated_round: int = -1
    evaluated_loss: float | None = None
    evaluated_accuracy: float | None = None
    train_seconds: float = 0.0
    num_timed: int = 0
    bytes_received: int = 0


@dataclass(slots=True)
class ModelRecord:
    """The global model after a round."""

    server_round: int
    seq: int
    digest: str
    parent: str | None
    created_ts: float
    size_bytes: int | None = None
    file_digest: str | None = None


@dataclass(slots=True, kw_only=True)
class Board:
    """The rows that a batch of events needs, and what became of them.

    Before a batch, ``rounds``, ``updates``, ``clients`` and ``models`` hold every existing row that its events may
    touch; what is not there does not exist. Afterwards ``changed_*`` name what has to be written.
    """

    run: RunRecord
    rounds: dict[int, RoundRecord] = field(default_factory=dict)
    updates: dict[UpdateKey, UpdateRecord] = field(default_factory=dict)
    clients: dict[str, ClientRecord] = field(default_factory=dict)
    models: dict[int, ModelRecord] = field(default_factory=dict)
    refusals: list[RefusalRecord] = field(default_factory=list)  # new ones
    metrics: dict[tuple[str, str, int], float] = field(default_factory=dict)  # source, name, round
    partition: Row | None = None
    partition_seq: int = 0
    renamed: list[tuple[int, str, str]] = field(default_factory=list)  # round, node's name, client
    phases: dict[int, set[str]] = field(default_factory=dict)  # of the rows in ``updates``, by round
    changed_rounds: set[int] = field(default_factory=set)
    changed_updates: dict[UpdateKey, UpdateRecord] = field(default_factory=dict)
    changed_clients: dict[str, ClientRecord] = field(default_factory=dict)
    changed_models: set[int] = field(default_factory=set)
    removed_updates: set[UpdateKey] = field(default_factory=set)
    removed_clients: set[str] = field(default_factory=set)  # those of them that no update is left of
    newly_evaluated: set[int] = field(default_factory=set)  # rounds whose spread over clients must be taken anew
    closed_before: set[int] = field(default_factory=set)  # closed rounds among ``rounds`` before the batch


class Columns:
    """Reads and writes records by column."""

    _cache: ClassVar[dict[type, tuple[tuple[str, ...], Any]]] = {}

    @classmethod
    def names(cls, record: type) -> tuple[str, ...]:
        """Return the columns of a record, in the order of its fields."""
        return cls._of(record)[0]

    @classmethod
    def values(cls, record: Any) -> dict[str, Any]:
        """Return a record's values by column."""
        names, get = cls._of(type(record))
        return dict(zip(names, get(record), strict=True))

    @classmethod
    def _of(cls, record: type) -> tuple[tuple[str, ...], Any]:
        found = cls._cache.get(record)
        if found is None:
            names = tuple(item.name for item in fields(record))
            found = cls._cache[record] = names, attrgetter(*names)
        return found
