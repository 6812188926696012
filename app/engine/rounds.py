"""The round loop, in place of Flower's ``Strategy.start``: strategies stay Flower's, the loop is ours.

A round goes OPEN -> COLLECTING -> AGGREGATING -> CLOSED; replies are checked as they come; everything is an event;
after each round a checkpoint holds all that the next one depends on. The loop knows no transport, no data and no model.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp.strategy import Strategy

from app.engine.client_metrics import metrics_of, summarise
from app.engine.collecting import RoundState
from app.engine.control import Control, Desired
from app.engine.early_stop import EarlyStop
from app.engine.exchange import Collected, Emit, Exchange, Phase, StopRequested
from app.engine.polling import Backoff
from app.engine.randomness import StrategyRandomness
from app.engine.stages import has_stages
from monitor.metrics import accuracy_of
from shared.events import (
    ModelEvaluated,
    PhaseEnded,
    RoundClosed,
    RoundStarted,
    RunPaused,
    RunResumed,
    RunWaiting,
)
from shared.parameters import model_digest
from shared.records import from_array_record, to_array_record

TRAIN, EVALUATE = "train", "evaluate"
# Between looks at the control and at the connected clients while a run waits.
_FIRST_GATE_POLL_S, _LONGEST_GATE_POLL_S = 0.1, 1.0

Evaluate = Callable[[int, ArrayRecord], Mapping[str, float]]


@runtime_checkable
class ChecksReplies(Protocol):
    """A strategy that judges each reply as it arrives, and knows a round from its repetition."""

    def begin_round(self, server_round: int, attempt: int) -> None:
        """Open a round; replies to earlier starts of it are stale."""

    def receive(self, server_round: int, phase: str, reply: Message) -> Accepts:
        """Judge one reply; asked again after the aggregation, against the whole cohort."""

    @property
    def num_accepted(self) -> Mapping[str, int]:
        """How many replies passed the checks against the whole cohort too, by phase."""


class Accepts(Protocol):
    """The judgement."""

    @property
    def is_accepted(self) -> bool:
        """Whether the reply passed every check that needs no other reply."""


class Journal(Protocol):
    """Where rounds are recorded so that they survive the process."""

    def begin_attempt(self, server_round: int) -> int:
        """Record a start of a round, durably, and return its number, from 1."""

    def close_round(self, server_round: int, arrays: ArrayRecord, randomness: Mapping[str, object]) -> None:
        """Record a closed round, durably."""


class NoJournal:
    """Records nothing: each start of a round counts, in memory."""

    def __init__(self) -> None:
        self._attempts: dict[int, int] = {}

    def begin_attempt(self, server_round: int) -> int:
        """Count the starts of a round."""
        self._attempts[server_round] = self._attempts.get(server_round, 0) + 1
        return self._attempts[server_round]

    def close_round(self, server_round: int, arrays: ArrayRecord, randomness: Mapping[str, object]) -> None:
        """Forget the round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundSettings:
    """What the loop itself needs to know."""

    num_rounds: int
    min_clients: int
    timeout_s: float
    quorum: float
    train_quorum: float | None = None  # of the train phase; None is ``quorum``
    train_config: Mapping[str, bool | int | float | str] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Round:
    """One round under way."""

    number: int
    attempt: int
    state: RoundState = RoundState.OPEN


class RoundLoop:
    """Runs rounds with a Flower strategy over any grid."""

    def __init__(
        self,
        *,
        exchange: Exchange,
        strategy: Strategy,
        settings: RoundSettings,
        randomness: StrategyRandomness,
        control: Control,
        journal: Journal,
        emit: Emit,
        evaluate: Evaluate | None = None,
        early_stop: EarlyStop | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._exchange = exchange
        self._strategy = strategy
        self._checks = strategy if isinstance(strategy, ChecksReplies) else None  # asked once: the answer is dear
        self._settings = settings
        self._randomness = randomness
        self._control = control
        self._journal = journal
        self._emit = emit
        self._evaluate = evaluate
        self._early_stop = early_stop or EarlyStop()
        self._accuracy: float | None = None  # of this round: on the central test set, or else the clients' mean
        self._clock = clock
        self._sleep = sleep
        self.rounds_completed = 0
        self.ended_because = ""  # why a run ended before its last round
        self.arrays = ArrayRecord()  # the global model after the last closed round
        self.current: Round | None = None

    def run(self, arrays: ArrayRecord, first_round: int = 1) -> ArrayRecord:
        """Run the rounds from ``first_round`` on and return the global model, which ``arrays`` holds meanwhile.

        ``first_round`` above 1 goes on from a checkpoint: the model before the first round is then not evaluated again.

        Raises:
            StopRequested: The run was asked to stop; the rounds closed until then stand.
        """
        self.rounds_completed = first_round - 1
        self.arrays = arrays
        if first_round == 1:
            self._journal.close_round(0, arrays, self._randomness.to_json())
            self._evaluate_centrally(0, arrays)
        for number in range(first_round, self._settings.num_rounds + 1):
            self._gate()
            self.arrays = self._round(number, self.arrays)
            self.ended_because = self._early_stop.observe(number, self._accuracy)
            if self.ended_because:
                break
        return self.arrays

    def _round(self, number: int, arrays: ArrayRecord) -> ArrayRecord:
        start = self._clock()
        current = self.current = Round(number=number, attempt=self._journal.begin_attempt(number))
        self._emit(RoundStarted(server_round=number, attempt=current.attempt))
        if self._checks is not None:
            self._checks.begin_round(number, current.attempt)
        arrays = self._train(current, arrays)
        self._gate()
        self._accuracy = None
        self._evaluate_on_clients(current, arrays)
        self._evaluate_centrally(number, arrays)
        saving = self._clock()
        self._journal.close_round(number, arrays, self._randomness.to_json())
        current.state = RoundState.CLOSED
        self.rounds_completed = number
        digest = model_digest(from_array_record(arrays)).hex()
        now = self._clock()
        self._emit(
            RoundClosed(server_round=number, seconds=now - start, model_digest=digest, checkpoint_seconds=now - saving)
        )
        return arrays

    def _train(self, current: Round, arrays: ArrayRecord) -> ArrayRecord:
        """Train; the old model stands when the strategy gives no new one."""
        config = ConfigRecord(dict(self._settings.train_config))
        if not self._run_stages(current, arrays, config):
            return arrays
        with self._randomness.active():
            messages = list(self._strategy.configure_train(current.number, arrays, config, self._exchange.grid))
        collected = self._collect(current, TRAIN, messages, quorum=self._settings.train_quorum)
        start = self._clock()
        with self._randomness.active():
            new_arrays, metrics = self._strategy.aggregate_train(current.number, collected.replies)
        self._phase_ended(current, TRAIN, collected, start, kept=new_arrays is None, metrics=metrics)
        return arrays if new_arrays is None else _as_views(new_arrays)

    def _run_stages(self, current: Round, arrays: ArrayRecord, config: ConfigRecord) -> bool:
        """Run what a multi-stage strategy does before it trains; False when too few clients took part."""
        if not has_stages(self._strategy):
            return True
        for stage in self._strategy.stages(current.number):
            with self._randomness.active():
                messages = list(
                    self._strategy.configure_stage(stage, current.number, arrays, config, self._exchange.grid)
                )
            collected = self._collect(current, stage.phase, messages, stage.timeout_s, stage.quorum)
            start = self._clock()
            if enough := collected.num_accepted >= stage.min_replies:
                with self._randomness.active():
                    self._strategy.finish_stage(stage, current.number, collected.replies)
                enough = self._num_accepted(stage.phase, collected) >= stage.min_replies  # the cohort was judged too
            self._phase_ended(current, stage.phase, collected, start, kept=not enough, metrics=None)
            if not enough:
                return False
        return True

    def _evaluate_on_clients(self, current: Round, arrays: ArrayRecord) -> None:
        config = ConfigRecord(dict(self._settings.train_config))
        with self._randomness.active():
            messages = list(self._strategy.configure_evaluate(current.number, arrays, config, self._exchange.grid))
        if not messages:
            return
        collected = self._collect(current, EVALUATE, messages)
        start = self._clock()
        with self._randomness.active():
            metrics = self._strategy.aggregate_evaluate(current.number, collected.replies)
        self._phase_ended(current, EVALUATE, collected, start, kept=False, metrics=metrics)
        counted = [reply for reply in collected.accepted if self._is_accepted(current.number, EVALUATE, reply)]
        good = [metrics_of(reply) for reply in counted]
        if (summary := summarise(current.number, good)) is not None:
            self._emit(summary)
            self._accuracy = accuracy_of(summary.mean)

    def _evaluate_centrally(self, number: int, arrays: ArrayRecord) -> None:
        if self._evaluate is not None:
            start = self._clock()
            metrics = dict(self._evaluate(number, arrays))
            self._accuracy = accuracy_of(metrics)
            self._emit(ModelEvaluated(server_round=number, metrics=metrics, seconds=self._clock() - start))

    def _collect(
        self,
        current: Round,
        name: str,
        messages: Sequence[Message],
        timeout_s: float | None = None,
        quorum: float | None = None,
    ) -> Collected:
        current.state = RoundState.COLLECTING
        phase = Phase(
            server_round=current.number,
            name=name,
            timeout_s=self._settings.timeout_s if timeout_s is None else timeout_s,
            quorum=self._settings.quorum if quorum is None else quorum,
        )
        collected = self._exchange.run(phase, messages, lambda reply: self._is_accepted(current.number, name, reply))
        current.state = RoundState.AGGREGATING
        return collected

    def _is_accepted(self, number: int, name: str, reply: Message) -> bool:
        if self._checks is not None:
            return self._checks.receive(number, name, reply).is_accepted
        return not reply.has_error()

    def _phase_ended(
        self,
        current: Round,
        name: str,
        collected: Collected,
        start: float,
        *,
        kept: bool,
        metrics: MetricRecord | None,
    ) -> None:
        values = {key: float(value) for key, value in (metrics or {}).items() if not isinstance(value, list)}
        accepted = self._num_accepted(name, collected)
        self._emit(
            PhaseEnded(
                server_round=current.number,
                phase=name,
                accepted=accepted,
                rejected=len(collected.replies) - accepted,
                late=collected.num_late,
                collect_seconds=collected.seconds,
                aggregate_seconds=self._clock() - start,
                kept_old_model=kept,
                metrics=values,
            )
        )

    def _num_accepted(self, name: str, collected: Collected) -> int:
        """Count the replies that passed the checks, those against the whole cohort too where they were made."""
        passed = len(collected.accepted)
        return passed if self._checks is None else self._checks.num_accepted.get(name, passed)

    def _gate(self) -> None:
        """Wait here while the run is paused or too few clients are connected; say why.

        Raises:
            StopRequested: The run was asked to stop.
        """
        said = ""
        backoff = Backoff(first_s=_FIRST_GATE_POLL_S, longest_s=_LONGEST_GATE_POLL_S)
        while (reason := self._reason_to_wait()) is not None:
            if reason != said:
                self._emit(RunPaused() if reason == _PAUSED else RunWaiting(reason=reason))
            said = reason
            self._sleep(backoff.pause())
        if said:
            self._emit(RunResumed())

    def _reason_to_wait(self) -> str | None:
        desired = self._control.desired()
        if desired is Desired.STOP:
            raise StopRequested
        if desired is Desired.PAUSE:
            return _PAUSED
        connected = len(list(self._exchange.grid.get_node_ids()))
        if connected < self._settings.min_clients:
            return f"waiting for clients {connected}/{self._settings.min_clients}"
        return None


_PAUSED = "paused"


def _as_views(arrays: ArrayRecord) -> ArrayRecord:
    """Keep the model as plain buffers, decoded once."""
    return to_array_record(from_array_record(arrays))
