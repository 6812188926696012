"""What a person watching a run wants to know now, kept up to date event by event. No I/O, no rich."""

from __future__ import annotations

import heapq
import statistics
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from monitor.metrics import accuracy_of, loss_of
from shared.events import (
    ClientsEvaluated,
    Envelope,
    Event,
    JsonValue,
    ModelEvaluated,
    PhaseEnded,
    PhaseStarted,
    PrivacySpent,
    RoundClosed,
    RoundStarted,
    RunEnded,
    RunPaused,
    RunResumed,
    RunStarted,
    RunWaiting,
    UpdateAccepted,
    UpdateLate,
    UpdateReceived,
    UpdateRejected,
)

ROUNDS_FOR_ETA = 5  # the last rounds' median tells best how long the next will take
MAX_REFUSALS = 4  # that are shown in words
MAX_HISTORY = 60  # points of a sparkline


@dataclass(slots=True, kw_only=True)
class ClientLine:
    """One client's line: where it stands in this round, and what it last reported."""

    name: str
    place: int  # in the order of the clients
    state: str = "idle"  # idle, training, evaluating, received, accepted, rejected, late, or another phase's name
    seconds: float | None = None  # from request to reply, in the current phase
    loss: float | None = None
    accuracy: float | None = None
    num_examples: int | None = None
    accepted: int = 0  # updates: replies that train the model; refused and late: of every phase but evaluation
    rejected: int = 0
    late: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A reply that was refused."""

    server_round: int
    client: str
    reason: str
    detail: str


@dataclass(slots=True, kw_only=True)
class Progress:
    """How far the round's current phase is."""

    phase: str = ""
    asked: int = 0
    replied: int = 0


@dataclass(slots=True)
class LiveState:
    """The state of a run as its events tell it."""

    run: str = ""
    config: Mapping[str, JsonValue] = field(default_factory=dict)
    num_clients: int = 0
    server_round: int = 0
    attempt: int = 1
    rounds_closed: int = 0
    progress: Progress = field(default_factory=Progress)
    message: str = ""  # why the run waits; how it ended
    ended: RunEnded | None = None
    started_ts: float = 0.0
    round_ts: float = 0.0
    clients: dict[str, ClientLine] = field(default_factory=dict)
    cohort: list[str] = field(default_factory=list)  # who was asked in the current phase
    round_accepted: int = 0  # updates, as above
    round_rejected: int = 0
    round_late: int = 0
    accepted: int = 0
    rejected: int = 0
    late: int = 0
    evaluations_refused: int = 0
    kept_old_model: bool = False
    losses: deque[float] = field(default_factory=lambda: deque(maxlen=MAX_HISTORY))
    accuracies: deque[float] = field(default_factory=lambda: deque(maxlen=MAX_HISTORY))
    has_central_test: bool = False
    privacy: PrivacySpent | None = None  # the newest
    refusals: deque[Refusal] = field(default_factory=lambda: deque(maxlen=MAX_REFUSALS))
    round_seconds: deque[float] = field(default_factory=lambda: deque(maxlen=ROUNDS_FOR_ETA))

    @property
    def num_rounds(self) -> int:
        """Rounds the run is to have."""
        rounds = self.config.get("num-rounds")
        return rounds if isinstance(rounds, int) else 0

    def take(self, envelope: Envelope) -> None:
        """Take in one event; kinds that change nothing on the screen are ignored."""
        self.run = envelope.run
        apply = _APPLY.get(type(envelope.event))
        if apply is not None:
            apply(self, envelope.event, envelope.ts)

    def seconds_left(self, now: float) -> float | None:
        """Estimate the rest of the run from the median of the last rounds; None before the first is closed."""
        if not self.round_seconds or not self.num_rounds or self.ended:
            return None
        typical = statistics.median(self.round_seconds)
        to_go = self.num_rounds - self.rounds_closed
        into_round = now - self.round_ts if self.server_round > self.rounds_closed else 0.0
        return max(0.0, to_go * typical - min(into_round, typical)) if to_go > 0 else 0.0

    def client(self, name: str) -> ClientLine:
        """Return the client's line, making it at first sight."""
        line = self.clients.get(name)
        if line is None:
            line = self.clients[name] = ClientLine(name=name, place=len(self.clients))
        return line

    def most_interesting(self, limit: int) -> list[ClientLine]:
        """Pick the lines to show: all when they fit, else refused, late and slow clients of this phase first."""
        if len(self.clients) <= limit:
            return list(self.clients.values())
        asked = [self.clients[name] for name in dict.fromkeys(self.cohort)]
        chosen = heapq.nlargest(limit, asked, key=_interest)
        if len(chosen) < limit:
            names = set(self.cohort)
            others = (line for line in self.clients.values() if line.name not in names)
            chosen += heapq.nlargest(limit - len(chosen), others, key=_interest)
        return sorted(chosen, key=lambda line: line.place)  # rows that stay where they are can be read


_URGENCY = {"rejected": 5, "late": 4, "idle": 0, "accepted": 1, "received": 2}


def _interest(line: ClientLine) -> tuple[int, int, float]:
    return _URGENCY.get(line.state, 3), line.rejected + line.late, line.seconds or 0.0


def _run_started(state: LiveState, event: RunStarted, ts: float) -> None:
    state.config, state.num_clients = event.config, event.num_clients
    state.started_ts = state.round_ts = ts
    state.rounds_closed = event.first_round - 1
    for name in event.clients:
        state.client(name)


def _round_started(state: LiveState, event: RoundStarted, ts: float) -> None:
    state.server_round, state.attempt, state.round_ts = event.server_round, event.attempt, ts
    state.round_accepted = state.round_rejected = state.round_late = 0
    state.progress, state.message, state.kept_old_model = Progress(), "", False
    _rest(state, state.clients)
    state.cohort = []


def _rest(state: LiveState, names: Iterable[str], keep: tuple[str, ...] = ()) -> None:
    for name in names:
        line = state.client(name)
        if line.state not in keep:
            line.state, line.seconds = "idle", None


_TROUBLE = ("rejected", "late")  # stays on the client's line until the round is over
_DOING = {"train": "training", "evaluate": "evaluating"}


def _phase_started(state: LiveState, event: PhaseStarted, _ts: float) -> None:
    state.message = ""
    state.progress = Progress(phase=event.phase, asked=len(event.clients))
    _rest(state, state.cohort, keep=_TROUBLE)
    state.cohort = list(event.clients)
    _rest(state, state.cohort, keep=_TROUBLE)
    for line in map(state.client, event.clients):
        if line.state not in _TROUBLE:
            line.state = _DOING.get(event.phase, event.phase)


def _received(state: LiveState, event: UpdateReceived, _ts: float) -> None:
    state.progress.replied += 1
    if event.client in state.clients:  # "" is nobody we asked
        line = state.clients[event.client]
        line.seconds = event.seconds
        if line.state != "accepted" and line.state not in _TROUBLE:
            line.state = "received"


def _accepted(state: LiveState, event: UpdateAccepted, _ts: float) -> None:
    line = state.client(event.client)
    if line.state not in _TROUBLE:
        line.state = "accepted"
    if event.phase == "train":
        state.accepted += 1
        state.round_accepted += 1
        line.accepted += 1
    line.num_examples = event.num_examples
    loss, accuracy = loss_of(event.metrics), accuracy_of(event.metrics)
    line.loss = line.loss if loss is None else loss
    line.accuracy = line.accuracy if accuracy is None else accuracy


def _rejected(state: LiveState, event: UpdateRejected, _ts: float) -> None:
    is_update = event.phase != "evaluate"
    state.rejected += is_update
    state.round_rejected += is_update
    state.evaluations_refused += not is_update
    state.refusals.append(
        Refusal(server_round=event.server_round, client=event.client, reason=event.reason, detail=event.detail)
    )
    if event.client:
        line = state.client(event.client)
        line.state = "rejected"
        line.rejected += is_update


def _late(state: LiveState, event: UpdateLate, _ts: float) -> None:
    is_update = event.phase != "evaluate"
    state.late += is_update
    state.round_late += is_update
    line = state.client(event.client)
    line.state, line.seconds = "late", event.seconds
    line.late += is_update


def _phase_ended(state: LiveState, event: PhaseEnded, _ts: float) -> None:
    state.kept_old_model = state.kept_old_model or event.kept_old_model
    state.progress = Progress()


def _privacy_spent(state: LiveState, event: PrivacySpent, _ts: float) -> None:
    state.privacy = event


def _model_evaluated(state: LiveState, event: ModelEvaluated, _ts: float) -> None:
    if not state.has_central_test:
        state.has_central_test = True
        state.losses.clear()
        state.accuracies.clear()
    _remember(state, event.metrics)


def _clients_evaluated(state: LiveState, event: ClientsEvaluated, _ts: float) -> None:
    if not state.has_central_test:  # the next best: the clients' mean
        _remember(state, event.mean)


def _remember(state: LiveState, metrics: Mapping[str, float]) -> None:
    for values, value in ((state.losses, loss_of(metrics)), (state.accuracies, accuracy_of(metrics))):
        if value is not None:
            values.append(value)


def _round_closed(state: LiveState, event: RoundClosed, _ts: float) -> None:
    state.rounds_closed = event.server_round
    state.round_seconds.append(event.seconds)


def _run_ended(state: LiveState, event: RunEnded, _ts: float) -> None:
    state.ended, state.progress = event, Progress()


def _waiting(state: LiveState, event: RunWaiting, _ts: float) -> None:
    state.message = event.reason


def _paused(state: LiveState, _event: RunPaused, _ts: float) -> None:
    state.message = "paused"


def _resumed(state: LiveState, _event: RunResumed, _ts: float) -> None:
    state.message = ""


_APPLY: dict[type[Event], Callable[..., None]] = {
    RunStarted: _run_started,
    RunWaiting: _waiting,
    RunPaused: _paused,
    RunResumed: _resumed,
    RoundStarted: _round_started,
    PhaseStarted: _phase_started,
    UpdateReceived: _received,
    UpdateAccepted: _accepted,
    UpdateRejected: _rejected,
    UpdateLate: _late,
    PhaseEnded: _phase_ended,
    PrivacySpent: _privacy_spent,
    ModelEvaluated: _model_evaluated,
    ClientsEvaluated: _clients_evaluated,
    RoundClosed: _round_closed,
    RunEnded: _run_ended,
}
