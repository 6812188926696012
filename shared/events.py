"""What happens in a run, as values: the round loop emits events, sinks write them, reports and pages read them.

An event is written as one flat JSON object: ``seq`` (from 1, without gaps in a run), ``ts`` (Unix seconds), ``run``,
``type`` (the class's ``type``), then the event's own fields in kebab-case. Fields whose value is None are left out.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import ClassVar, Protocol, TypeVar

from shared.config import key_of

JsonValue = None | bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"]

E = TypeVar("E", bound="Event")


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Base of all events; ``type`` is what is written down and never changes."""

    type: ClassVar[str] = "event"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(Event):
    """A run begins, or goes on from a checkpoint (``first_round`` above 1)."""

    type: ClassVar[str] = "run-started"
    config: Mapping[str, JsonValue]  # kebab-case, as in config.toml
    first_round: int
    clients: list[str]  # client ids, at most the first 1,000
    num_clients: int
    num_parameters: int
    workers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionDescribed(Event):
    """How the data is spread: class counts a client, at most the first 1,000 clients."""

    type: ClassVar[str] = "partition-described"
    class_names: list[str]
    histograms: dict[str, list[int]]  # client id -> examples of each class


@dataclass(frozen=True, slots=True, kw_only=True)
class RunWaiting(Event):
    """The run cannot go on yet, and why: "waiting for clients 1/2", "paused"."""

    type: ClassVar[str] = "run-waiting"
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPaused(Event):
    """The run was paused between two phases or while collecting."""

    type: ClassVar[str] = "run-paused"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResumed(Event):
    """A paused run goes on."""

    type: ClassVar[str] = "run-resumed"


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundStarted(Event):
    """A round opens: ``attempt`` counts the starts of this round, from 1."""

    type: ClassVar[str] = "round-started"
    server_round: int
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseStarted(Event):
    """Requests of one phase ("train", "evaluate") went out."""

    type: ClassVar[str] = "phase-started"
    server_round: int
    phase: str
    clients: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateReceived(Event):
    """A reply came in, before any check. ``client`` is who was asked, "" when nobody was."""

    type: ClassVar[str] = "update-received"
    server_round: int
    phase: str
    client: str
    node_id: str
    seconds: float  # since the phase's requests went out
    compute_seconds: float | None = None  # on the client, where the engine knows it
    num_bytes: int | None = None  # arrays of the reply, as sent


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientIdentified(Event):
    """A node's first valid reply told whose it is; the events of this round before it say ``node-<node id>``."""

    type: ClassVar[str] = "client-identified"
    server_round: int
    client: str
    node_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateAccepted(Event):
    """A reply passed every check and is handed to the strategy. ``metrics`` are the client's own."""

    type: ClassVar[str] = "update-accepted"
    server_round: int
    phase: str
    client: str
    num_examples: int
    norm: float | None = None  # L2 norm of the delta to the global model; train only
    metrics: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateRejected(Event):
    """A reply was refused. ``reason`` is a value of ``shared.reasons.Reason``; ``client`` is who was *asked*."""

    type: ClassVar[str] = "update-rejected"
    server_round: int
    phase: str
    client: str
    node_id: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateCapped(Event):
    """A client's weight was lowered: its example count or its share of the mean was above the bound."""

    type: ClassVar[str] = "update-capped"
    server_round: int
    client: str
    claimed: int
    counted: float
    bound: str  # "cohort-median" or "max-client-weight"


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateLate(Event):
    """A client had not answered when its phase ended."""

    type: ClassVar[str] = "update-late"
    server_round: int
    phase: str
    client: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseEnded(Event):
    """A phase was collected and aggregated."""

    type: ClassVar[str] = "phase-ended"
    server_round: int
    phase: str
    accepted: int
    rejected: int
    late: int
    collect_seconds: float
    aggregate_seconds: float
    kept_old_model: bool  # train only: too few good updates, or the strategy gave no model
    metrics: dict[str, float]  # the strategy's aggregate


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivacySpent(Event):
    """What the clients' accountants say after a train phase; everything so far, over the life of their data.

    ``accountant`` to ``steps`` are those of the client with the largest epsilon.
    """

    type: ClassVar[str] = "privacy-spent"
    server_round: int
    unit: str  # what is protected: "example"
    epsilon: float  # maximum over clients
    epsilon_median: float
    delta: float
    target_epsilon: float | None = None  # the budget
    accountant: str  # "prv", "rdp"
    noise_multiplier: float
    max_grad_norm: float
    sample_rate: float
    steps: int
    sampler: str
    num_clients: int  # that trained so far
    exhausted_clients: int  # whose budget is spent
    warning: str  # where the number means little, "" where it does not
    by_client: dict[str, float]  # epsilon, at most the first 1,000 clients


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEvaluated(Event):
    """The global model on the central test set; round 0 is the initial model."""

    type: ClassVar[str] = "model-evaluated"
    server_round: int
    metrics: dict[str, float]  # "loss", "accuracy"
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientsEvaluated(Event):
    """The global model on the clients' own test data."""

    type: ClassVar[str] = "clients-evaluated"
    server_round: int
    mean: dict[str, float]  # over clients, each counted once
    deviation: dict[str, float]  # standard deviation over clients
    minimum: dict[str, float]
    maximum: dict[str, float]
    num_clients: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundClosed(Event):
    """A round is over and its checkpoint is on disk."""

    type: ClassVar[str] = "round-closed"
    server_round: int
    seconds: float
    model_digest: str  # hex SHA-256 of the global model
    checkpoint_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded(Event):
    """The run is over. ``state``: completed, stopped, failed or interrupted; ``error`` is one sentence."""

    type: ClassVar[str] = "run-ended"
    state: str
    rounds_completed: int
    seconds: float
    error: str | None = None
    reason: str | None = None  # why it ended before its last round


EVENT_TYPES: Mapping[str, type[Event]] = {
    kind.type: kind
    for kind in (
        RunStarted,
        PartitionDescribed,
        RunWaiting,
        RunPaused,
        RunResumed,
        RoundStarted,
        PhaseStarted,
        UpdateReceived,
        ClientIdentified,
        UpdateAccepted,
        UpdateRejected,
        UpdateCapped,
        UpdateLate,
        PhaseEnded,
        PrivacySpent,
        ModelEvaluated,
        ClientsEvaluated,
        RoundClosed,
        RunEnded,
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """One event with its place in the run."""

    seq: int  # from 1
    ts: float  # Unix seconds
    run: str
    event: Event

    def to_json(self) -> dict[str, JsonValue]:
        """Return the flat JSON object; a number JSON cannot hold (NaN, infinity) becomes null."""
        row: dict[str, JsonValue] = {"seq": self.seq, "ts": self.ts, "run": self.run, "type": self.event.type}
        for name, key in _keys_of(type(self.event)):  # type: ignore[arg-type] # mypy takes a dataclass without a hash for its class
            value = getattr(self.event, name)
            if value is not None:
                row[key] = value if type(value) in _PLAIN else _json_safe(value)
        return row


class EventSink(Protocol):
    """Where events go. A sink never raises into the run for what lies outside this machine."""

    def write(self, envelope: Envelope) -> None:
        """Take one event."""

    def close(self) -> None:
        """Write what is pending; nothing is written afterwards."""


class EventLog:
    """Numbers the events of one run and hands them to the sinks."""

    def __init__(self, run_id: str, sinks: list[EventSink], now: Callable[[], float], first_seq: int = 1) -> None:
        """Start at ``first_seq``: a resumed run goes on counting where its file ended."""
        self._run_id = run_id
        self._sinks = sinks
        self._now = now
        self._next_seq = first_seq

    def emit(self, event: Event) -> None:
        """Give the event its number and time, and hand it to every sink."""
        envelope = Envelope(seq=self._next_seq, ts=self._now(), run=self._run_id, event=event)
        self._next_seq += 1
        for sink in self._sinks:
            sink.write(envelope)

    def close(self) -> None:
        """Close every sink."""
        for sink in self._sinks:
            sink.close()


class MemorySink:
    """Keeps events in a list: for tests and notebooks."""

    def __init__(self) -> None:
        """Start empty."""
        self.envelopes: list[Envelope] = []

    def write(self, envelope: Envelope) -> None:
        """Keep the event."""
        self.envelopes.append(envelope)

    def close(self) -> None:
        """Do nothing: the list stays readable."""

    def of_type(self, kind: type[E]) -> list[E]:
        """Return the events of one class, in order."""
        return [envelope.event for envelope in self.envelopes if isinstance(envelope.event, kind)]


_PLAIN = frozenset({bool, int, str})


@functools.cache
def _keys_of(kind: type[Event]) -> tuple[tuple[str, str], ...]:
    return tuple((field.name, key_of(field.name)) for field in fields(kind))


def _json_safe(value: object) -> JsonValue:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): _json_safe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_safe(item) for item in value]
    raise TypeError(f"an event cannot hold a {type(value).__name__}")
