"""The round loop: what it does in which order, why it waits, and what it makes of clients that misbehave."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg, Strategy

from app.engine.control import Desired, FileControl, write_control
from app.engine.exchange import Exchange, Phase, StopRequested
from app.engine.memory_grid import MemoryClock, MemoryGrid
from app.engine.randomness import StrategyRandomness
from app.engine.rounds import NoJournal, RoundLoop, RoundSettings
from app.engine.stages import Stage
from app.strategies.verified import VerifiedStrategy
from shared import events as ev
from shared.errors import RunFailed
from shared.events import Event
from shared.records import from_array_record, to_array_record

NODES = [11, 22, 33, 44]


def answer(message: Message, value: float = 1.0) -> Message:
    """Train: add ``value`` to the model; evaluate: the model's own value as the loss."""
    if message.metadata.message_type == "train":
        model = {name: array + value for name, array in from_array_record(message.content["arrays"]).items()}
        metrics = MetricRecord({"num-examples": 1, "loss": 0.5})
        content = RecordDict({"arrays": to_array_record(model), "metrics": metrics})
    else:
        loss = float(message.metadata.dst_node_id)
        content = RecordDict({"metrics": MetricRecord({"num-examples": 1, "loss": loss})})
    return Message(content, reply_to=message)


@dataclass
class Script:
    """Desired states by the number of times the loop asked."""

    states: Mapping[int, Desired] = field(default_factory=dict)
    asked: int = 0

    def desired(self) -> Desired:
        self.asked += 1
        return self.states.get(self.asked, Desired.RUN)


class Fixture:
    def __init__(
        self,
        reply: Callable[[Message], tuple[Message, float] | None] = lambda message: (answer(message), 1.0),
        *,
        strategy: Strategy | None = None,
        control: object | None = None,
        min_clients: int = 1,
        timeout_s: float = 100.0,
        quorum: float = 1.0,
    ) -> None:
        self.clock = MemoryClock()
        self.grid = MemoryGrid(NODES, reply, self.clock)
        self.events: list[Event] = []
        self.journal = NoJournal()
        control = control or Script()
        exchange = Exchange(
            grid=self.grid,
            control=control,  # type: ignore[arg-type]
            emit=self.events.append,
            client_of=lambda node: f"c{node}",
            clock=self.clock,
            sleep=self.clock.sleep,
        )
        self.loop = RoundLoop(
            exchange=exchange,
            strategy=strategy or FedAvg(fraction_evaluate=0.0),
            settings=RoundSettings(num_rounds=2, min_clients=min_clients, timeout_s=timeout_s, quorum=quorum),
            randomness=StrategyRandomness(1),
            control=control,  # type: ignore[arg-type]
            journal=self.journal,
            emit=self.events.append,
            evaluate=lambda _, arrays: {"loss": float(arrays["w"].numpy()[0])},
            clock=self.clock,
            sleep=self.clock.sleep,
        )

    def run(self) -> float:
        arrays = self.loop.run(to_array_record({"w": np.zeros(2, np.float32)}))
        return float(arrays["w"].numpy()[0])

    def of(self, kind: type[Event]) -> list:  # type: ignore[type-arg]
        return [event for event in self.events if isinstance(event, kind)]


def test_rounds_train_evaluate_and_close_in_order() -> None:
    fixture = Fixture()
    assert fixture.run() == 2.0
    assert [event.type for event in fixture.events if event.type != "update-received"] == [
        "model-evaluated",
        *["round-started", "phase-started", "phase-ended", "model-evaluated", "round-closed"] * 2,
    ]
    assert [event.metrics["loss"] for event in fixture.of(ev.ModelEvaluated)] == [0.0, 1.0, 2.0]
    assert {event.client for event in fixture.of(ev.UpdateReceived)} == {"c11", "c22", "c33", "c44"}
    assert fixture.loop.rounds_completed == 2


def test_clients_evaluation_is_given_as_mean_and_spread() -> None:
    fixture = Fixture(strategy=FedAvg())
    fixture.run()
    (first, _) = fixture.of(ev.ClientsEvaluated)
    # 11, 22, 33, 44: mean 27.5, population deviation 11 * sqrt(1.25)
    assert first.mean["loss"] == pytest.approx(27.5)
    assert first.deviation["loss"] == pytest.approx(11 * 1.25**0.5)
    assert (first.minimum["loss"], first.maximum["loss"], first.num_clients) == (11, 44, 4)


def test_an_evaluation_that_the_cohort_refused_takes_no_measure_from_the_others() -> None:
    def reply(message: Message) -> tuple[Message, float]:
        good = answer(message)
        if message.metadata.message_type == "evaluate" and message.metadata.dst_node_id == 22:
            good.content["metrics"] = MetricRecord({"num-examples": 1, "something-else": 1.0})
        return good, 1.0

    fixture = Fixture(reply, strategy=VerifiedStrategy(FedAvg(), run_id="r", require_signatures=False))
    fixture.run()
    (first, _) = fixture.of(ev.ClientsEvaluated)
    assert first.mean["loss"] == pytest.approx((11 + 33 + 44) / 3)
    assert first.num_clients == 3


def test_a_client_that_never_answers_is_late_and_the_round_ends_at_its_deadline() -> None:
    fixture = Fixture(
        lambda message: None if message.metadata.dst_node_id == 33 else (answer(message), 1.0), timeout_s=5.0
    )
    assert fixture.run() == 2.0
    assert [(event.client, event.server_round) for event in fixture.of(ev.UpdateLate)] == [("c33", 1), ("c33", 2)]
    (first, _) = fixture.of(ev.PhaseEnded)
    assert (first.accepted, first.rejected, first.late) == (3, 0, 1)
    assert 5.0 <= first.collect_seconds <= 5.0 + 0.2


def test_a_quorum_ends_a_phase_before_the_slow_are_in() -> None:
    delays = {11: 1.0, 22: 2.0, 33: 50.0, 44: 50.0}
    fixture = Fixture(lambda message: (answer(message), delays[message.metadata.dst_node_id]), quorum=0.5)
    fixture.run()
    (first, _) = fixture.of(ev.PhaseEnded)
    assert (first.accepted, first.late) == (2, 2)
    assert first.collect_seconds < 3


def test_a_quorum_is_counted_as_people_count() -> None:
    clock = MemoryClock()
    nodes = list(range(1, 101))
    grid = MemoryGrid(nodes, lambda message: (answer(message), float(message.metadata.dst_node_id)), clock)
    exchange = Exchange(
        grid=grid, control=Script(), emit=lambda _: None, client_of=str, clock=clock, sleep=clock.sleep
    )  # fmt: skip
    messages = [Message(RecordDict(), node, "evaluate") for node in nodes]
    phase = Phase(server_round=1, name="evaluate", timeout_s=1_000.0, quorum=0.55)  # 0.55 * 100 > 55 in binary
    assert exchange.run(phase, messages, lambda _: True).num_accepted == 55


def test_an_error_reply_is_left_out_and_the_round_goes_on() -> None:
    def reply(message: Message) -> tuple[Message, float]:
        if message.metadata.dst_node_id == 22:
            return Message(Error(code=2, reason="bug"), reply_to=message), 0.5
        return answer(message), 1.0

    fixture = Fixture(reply)
    assert fixture.run() == 2.0
    assert [event.rejected for event in fixture.of(ev.PhaseEnded)] == [1, 1]


def test_a_round_without_any_reply_keeps_the_old_model_and_says_so() -> None:
    fixture = Fixture(lambda _: None, timeout_s=1.0)
    assert fixture.run() == 0.0
    assert [event.kept_old_model for event in fixture.of(ev.PhaseEnded)] == [True, True]


def test_the_run_waits_for_clients_and_says_how_many() -> None:
    fixture = Fixture(min_clients=4)
    fixture.grid.nodes = NODES[:3]
    sleeps = 0

    def sleep(seconds: float) -> None:
        nonlocal sleeps
        sleeps += 1
        fixture.clock.sleep(seconds)
        if sleeps == 5:
            fixture.grid.nodes = NODES

    fixture.loop._sleep = sleep
    assert fixture.run() == 2.0
    assert [event.reason for event in fixture.of(ev.RunWaiting)] == ["waiting for clients 3/4"]
    assert len(fixture.of(ev.RunResumed)) == 1


def test_a_paused_run_stands_still_between_phases_and_goes_on() -> None:
    fixture = Fixture(control=Script({1: Desired.PAUSE, 2: Desired.PAUSE, 3: Desired.PAUSE}))
    assert fixture.run() == 2.0
    kinds = [event.type for event in fixture.events]
    assert kinds[:4] == ["model-evaluated", "run-paused", "run-resumed", "round-started"]


def test_a_stop_abandons_the_open_round_and_keeps_the_closed_ones() -> None:
    control = Script()
    fixture = Fixture(control=control)

    def reply(message: Message) -> tuple[Message, float]:
        if len(fixture.grid.sent) > 4:  # the second round is under way
            control.states = dict.fromkeys(range(control.asked, control.asked + 5), Desired.STOP)
        return answer(message), 1.0

    fixture.grid._answer = reply
    with pytest.raises(StopRequested):
        fixture.run()
    assert fixture.loop.rounds_completed == 1
    assert float(fixture.loop.arrays["w"].numpy()[0]) == 1.0
    assert len(fixture.of(ev.RoundClosed)) == 1


def test_a_control_file_pauses_resumes_and_stops(tmp_path) -> None:  # type: ignore[no-untyped-def]
    control = FileControl(tmp_path)
    assert control.desired() is Desired.RUN
    for desired in Desired:
        write_control(tmp_path, desired)
        assert control.desired() is desired
    (tmp_path / "control").write_text("dance")
    assert control.desired() is Desired.RUN


class TwoStages(FedAvg):
    """Asks for a number first, and trains with the sum of the answers."""

    def __init__(self, min_replies: int) -> None:
        super().__init__(fraction_evaluate=0.0)
        self.stage = Stage(name="numbers", timeout_s=3.0, min_replies=min_replies)
        self.total = 0.0

    def stages(self, server_round: int) -> Sequence[Stage]:
        return [self.stage]

    def configure_stage(
        self, stage: Stage, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        return [Message(RecordDict(), node, stage.phase) for node in grid.get_node_ids()]

    def finish_stage(self, stage: Stage, server_round: int, replies: Sequence[Message]) -> None:
        self.total = sum(float(reply.content["metrics"]["loss"]) for reply in replies)  # type: ignore[arg-type]


def test_a_strategy_of_several_stages_exchanges_before_it_trains() -> None:
    strategy = TwoStages(min_replies=4)
    fixture = Fixture(strategy=strategy)
    assert fixture.run() == 2.0
    assert strategy.total == sum(NODES)
    assert [event.phase for event in fixture.of(ev.PhaseStarted)] == ["train.numbers", "train"] * 2


def test_a_stage_with_too_few_replies_ends_the_round_with_the_old_model() -> None:
    fixture = Fixture(
        lambda message: None if message.metadata.dst_node_id == 11 else (answer(message), 1.0),
        strategy=TwoStages(min_replies=4),
    )
    assert fixture.run() == 0.0
    assert [(event.phase, event.kept_old_model) for event in fixture.of(ev.PhaseEnded)] == [("train.numbers", True)] * 2


def test_each_start_of_a_round_is_a_new_attempt() -> None:
    fixture = Fixture()
    fixture.journal.begin_attempt(2)
    fixture.run()
    assert [(event.server_round, event.attempt) for event in fixture.of(ev.RoundStarted)] == [(1, 1), (2, 2)]


def test_the_process_own_random_state_does_not_change_who_is_asked() -> None:
    import random

    def asked(noise: int) -> list[int]:
        fixture = Fixture(strategy=FedAvg(fraction_train=0.5, fraction_evaluate=0.0))
        random.seed(noise)
        fixture.run()
        return [message.metadata.dst_node_id for message in fixture.grid.sent]

    assert asked(1) == asked(2)


class Refusing(MemoryGrid):
    """Takes no message for node 33, as a SuperLink does for a node that is gone, or none at all."""

    takes_any = True

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        asked = list(messages)
        if not self.takes_any:
            return []
        taken = iter(super().push_messages(message for message in asked if message.metadata.dst_node_id != 33))
        return [None if message.metadata.dst_node_id == 33 else next(taken) for message in asked]  # type: ignore[misc]


def test_a_node_that_left_before_its_request_is_late_at_once() -> None:
    fixture = Fixture(quorum=1.0, timeout_s=50.0)
    fixture.grid.__class__ = Refusing
    assert fixture.run() == 2.0
    assert [(event.client, event.seconds) for event in fixture.of(ev.UpdateLate)] == [("c33", 0.0)] * 2
    assert [(event.accepted, event.late) for event in fixture.of(ev.PhaseEnded)] == [(3, 1)] * 2
    assert fixture.clock() < 10, "nobody waits for a node that was never asked"


def test_requests_that_cannot_be_sent_end_the_run_in_one_sentence() -> None:
    fixture = Fixture()
    fixture.grid.__class__ = type("Full", (Refusing,), {"takes_any": False})
    with pytest.raises(RunFailed, match=r"^the SuperLink refused the train requests of round 1; see its log$"):
        fixture.run()


def test_a_grid_that_cannot_wait_is_asked_less_and_less_often() -> None:
    pulls: list[float] = []
    fixture = Fixture(lambda message: (answer(message), 40.0), timeout_s=100.0)
    pull = fixture.grid.pull_messages

    def counted(message_ids: Iterable[str]) -> list[Message]:
        pulls.append(fixture.clock())
        return pull(message_ids)

    fixture.grid.pull_messages = counted  # type: ignore[method-assign]
    fixture.loop.run(to_array_record({"w": np.zeros(2, np.float32)}), first_round=2)  # one round
    pauses = np.diff(pulls)
    assert pauses[:3] == pytest.approx([0.05, 0.075, 0.1125])
    assert pauses.max() == pytest.approx(0.8)
    assert len(pulls) < 40 / 0.8 + 10
    assert fixture.clock() < 40 + 0.8 + 1e-6, "a reply is seen at most one pause after it came"
