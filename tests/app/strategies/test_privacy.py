"""What the server believes of its clients' privacy, and who may say that a budget is spent."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg

from app.engine.exchange import StopRequested
from app.engine.grid_view import GridWithout
from app.engine.memory_grid import MemoryClock, MemoryGrid
from app.strategies.privacy import PrivacyTally
from app.strategies.verification import Values
from app.strategies.verified import VerifiedStrategy
from shared.config import RunConfig
from shared.errors import UpdateRejected
from shared.events import Event, PrivacySpent
from shared.events import UpdateRejected as UpdateRejectedEvent
from shared.privacy.accounting import PRV, RDP
from shared.privacy.reply import PRIVACY_METRICS, REFUSAL_RECORD, ClientPrivacy, privacy_in
from shared.records import from_array_record
from tests.actors import Federation, bits, honest_work

CONFIG = RunConfig(dp=True, target_epsilon=8.0, num_clients=3, min_clients=1)
SPENT = ClientPrivacy(epsilon=2.0, delta=1e-5, accountant=PRV, noise_multiplier=1.1, sample_rate=0.1, steps=10)


def values(privacy: ClientPrivacy | None, num_examples: int = 100) -> Values:
    metrics: Mapping[str, float] = {} if privacy is None else privacy.to_metrics()
    return Values(arrays={}, norm=1.0, num_examples=num_examples, metrics=metrics, layout=())


def private_work(client: str, message: Message) -> RecordDict:
    content = honest_work(client, message)
    if message.metadata.message_type != "evaluate":
        number = int(client.rpartition("-")[2]) + 1
        content["metrics"] = MetricRecord({**content["metrics"], **replace(SPENT, epsilon=number / 2).to_metrics()})
    return content


def refusal(reason: str = "budget-exhausted", detail: str = "epsilon 8 of 8 is spent") -> RecordDict:
    return RecordDict({REFUSAL_RECORD: ConfigRecord({"reason": reason, "detail": detail})})


class Recording(FedAvg):
    def __init__(self) -> None:
        super().__init__(min_train_nodes=1, min_available_nodes=1, min_evaluate_nodes=1)
        self.seen: list[Message] = []

    def aggregate_train(self, server_round, replies):  # type: ignore[no-untyped-def]
        self.seen = list(replies)
        return super().aggregate_train(server_round, self.seen)


def private_federation(**work: Callable[[str, Message], RecordDict]) -> Federation:
    honest = {f"client-{index}": private_work for index in range(3)}
    named = {name.replace("_", "-"): function for name, function in work.items()}
    tally = PrivacyTally(CONFIG)
    return Federation(inner=Recording(), work=honest | named, options={"privacy": tally})


def of_type(events: list[Event], kind: type[Event]) -> list[Event]:
    return [event for event in events if isinstance(event, kind)]


def test_a_round_sums_up_what_its_clients_say() -> None:
    federation = private_federation()
    assert federation.train() is not None
    (spent,) = of_type(federation.events, PrivacySpent)
    assert isinstance(spent, PrivacySpent)
    assert (spent.epsilon, spent.epsilon_median, spent.delta, spent.target_epsilon) == (1.5, 1.0, 1e-5, 8.0)
    assert (spent.noise_multiplier, spent.sample_rate, spent.steps, spent.max_grad_norm) == (1.1, 0.1, 10, 1.0)
    assert spent.by_client == {"client-2": 1.5, "client-1": 1.0, "client-0": 0.5}
    assert (spent.num_clients, spent.exhausted_clients, spent.warning) == (3, 0, "")


def test_a_strategy_never_sees_epsilons_and_makes_no_mean_of_them() -> None:
    federation = private_federation()
    federation.train()
    inner = federation.inner
    assert isinstance(inner, Recording)
    for reply in inner.seen:
        (metrics,) = reply.content.metric_records.values()
        assert set(metrics) == {"num-examples", "loss"}


def test_a_spent_client_is_refused_once_and_left_out_of_training_and_evaluation() -> None:
    federation = private_federation(client_1=lambda *_: refusal())
    federation.train(1)
    assert federation.rejections() == [("client-1", "budget-exhausted")]
    (event,) = of_type(federation.events, UpdateRejectedEvent)
    assert isinstance(event, UpdateRejectedEvent)
    assert event.detail == "epsilon 8 of 8 is spent"
    for server_round, phase in ((1, "evaluate"), (2, "train"), (2, "evaluate")):
        asked = {federation.nodes[message.metadata.dst_node_id] for message in federation.ask(server_round, phase)}
        assert asked == {"client-0", "client-2"}
    assert federation.train(3) is not None
    assert of_type(federation.events, PrivacySpent)[-1].exhausted_clients == 1  # type: ignore[attr-defined]


def test_the_rounds_result_is_bit_equal_to_the_round_without_the_spent_client() -> None:
    with_it = private_federation(client_1=lambda *_: refusal()).train()
    without = private_federation()
    replies = [reply for reply in without.replies() if without.nodes[reply.metadata.src_node_id] != "client-1"]
    arrays, _ = without.strategy.aggregate_train(1, replies)
    assert with_it is not None
    assert arrays is not None
    assert bits(with_it) == bits(from_array_record(arrays))


def test_nobody_can_say_for_another_that_its_budget_is_spent() -> None:
    """Mallory sits between: takes the honest reply away and puts a refusal in its place, with or without a key."""
    federation = private_federation()
    requests = federation.ask()
    honest = [federation.answer(request) for request in requests[1:]]
    forged = Message(refusal(), reply_to=requests[0])
    federation.strategy.aggregate_train(1, [forged, *honest])
    assert federation.rejections() == [("node-101", "malformed")]
    asked = {federation.nodes[message.metadata.dst_node_id] for message in federation.ask(2)}
    assert "client-0" in asked
    replayed = federation.answer(federation.ask(3)[1])
    replayed.content[REFUSAL_RECORD] = refusal()[REFUSAL_RECORD]  # added to what was signed
    federation.strategy.receive(3, "train", replayed)
    assert federation.rejections()[-1] == ("client-1", "bad-signature")


@pytest.mark.parametrize("reason", ["norm", "bad-signature", "", "no-such-reason", 7])
def test_a_client_cannot_give_any_other_reason(reason: object) -> None:
    record = ConfigRecord({"reason": reason, "detail": "x"})  # type: ignore[dict-item]
    federation = private_federation(client_1=lambda *_: RecordDict({REFUSAL_RECORD: record}))
    federation.train()
    assert federation.rejections() == [("client-1", "schema")]


@pytest.mark.parametrize("reason", ["privacy-ledger", "privacy"])
def test_a_client_whose_ledger_is_broken_is_asked_again(reason: str) -> None:
    federation = private_federation(client_1=lambda *_: refusal(reason, "the ledger \x1b[2J was edited"))
    federation.train(1)
    assert federation.rejections() == [("client-1", reason)]
    assert len(federation.ask(2)) == 3
    (event,) = of_type(federation.events, UpdateRejectedEvent)
    assert "\x1b" not in event.detail  # type: ignore[attr-defined]


def test_with_too_few_left_the_run_ends_and_nothing_waits_for_ever() -> None:
    federation = private_federation(**{f"client_{index}": lambda *_: refusal() for index in range(3)})
    assert federation.train() is None
    assert federation.ask(1, "evaluate") == []
    with pytest.raises(StopRequested):
        federation.ask(2)


def test_a_reply_that_hides_its_privacy_or_has_too_little_is_refused() -> None:
    tally = PrivacyTally(CONFIG)
    for privacy, num_examples, message in (
        (None, 100, "does not say"),
        (replace(SPENT, delta=0.01), 100, "delta 0.01 is not below 1/n"),
        (replace(SPENT, epsilon=8.01), 100, "epsilon 8.01 is above the budget of 8"),
        (replace(SPENT, noise_multiplier=0.0), 100, "does not say"),
        (replace(SPENT, sample_rate=1.5), 100, "does not say"),
        (replace(SPENT, steps=0), 100, "does not say"),
        (replace(SPENT, epsilon=-1.0), 100, "does not say"),
    ):
        with pytest.raises(UpdateRejected, match=message) as refused:
            tally.check("client-0", values(privacy, num_examples))
        assert refused.value.reason == "privacy"
    assert tally.event(1) is None
    tally.check("client-0", values(replace(SPENT, epsilon=8.0)))
    assert tally.clients == {"client-0"}


def test_without_privacy_asked_for_nothing_changes() -> None:
    plain, private_replies = Federation(), Federation(work={f"client-{index}": private_work for index in range(3)})
    one, other = plain.train(), private_replies.train()
    assert one is not None
    assert other is not None
    assert bits(one) == bits(other)


def test_a_lifes_cost_never_falls() -> None:
    tally = PrivacyTally(CONFIG)
    tally.check("client-0", values(replace(SPENT, epsilon=3.0, steps=30)))
    tally.check("client-0", values(replace(SPENT, epsilon=1.0, steps=10)))
    event = tally.event(2)
    assert event is not None
    assert (event.epsilon, event.steps) == (3.0, 30)


@pytest.mark.parametrize(
    ("privacy", "warning"),
    [
        (replace(SPENT, epsilon=12.0), "client-0: epsilon 12 is above 10"),
        (replace(SPENT, sample_rate=1.0), "client-0: every step sees all 100 examples"),
        (SPENT, ""),
    ],
)
def test_a_number_that_means_little_is_said_to(privacy: ClientPrivacy, warning: str) -> None:
    tally = PrivacyTally(replace(CONFIG, target_epsilon=0.0, noise_multiplier=1.0))
    tally.check("client-0", values(privacy))
    event = tally.event(1)
    assert event is not None
    assert event.warning.startswith(warning)
    assert bool(event.warning) == bool(warning)
    assert event.target_epsilon is None


def test_a_resumed_tally_knows_what_the_events_say() -> None:
    federation = private_federation(client_1=lambda *_: refusal())
    rows = []
    federation.train()
    from monitor.rows import rows_of
    from shared.events import Envelope

    envelopes = [Envelope(seq=1, ts=1.0, run="r", event=event) for event in federation.events]
    rows = [*rows_of(envelopes), {"type": "update-accepted", "phase": "train", "metrics": "damaged"}, {}]
    resumed = PrivacyTally(CONFIG)
    resumed.restore(rows)
    assert resumed.exhausted == {"client-1"}
    assert resumed.clients == {"client-0", "client-2"}
    assert resumed.event(1) == of_type(federation.events, PrivacySpent)[-1]


def test_privacy_survives_the_wire_as_numbers() -> None:
    for privacy in (SPENT, replace(SPENT, accountant=RDP)):
        metrics = {key: float(value) for key, value in privacy.to_metrics().items()}
        assert metrics.keys() == PRIVACY_METRICS
        assert privacy_in(metrics) == privacy
        assert privacy_in({key: value for key, value in metrics.items() if key != "delta"}) is None
        assert privacy_in(metrics | {"epsilon": math.nan}) is None


def test_a_grid_without_some_nodes_hides_nothing_else() -> None:
    grid = MemoryGrid([101, 102, 103], lambda message: (Message(RecordDict(), reply_to=message), 0.0), MemoryClock())
    view = GridWithout(grid, lambda node_id: node_id == 102)
    assert view.get_node_ids() == [101, 103]
    assert [info.node_id for info in view.get_nodes()] == [101, 103]
    assert view.run is grid.run
    message = view.create_message(RecordDict(), "train", 101, "1")
    ids = list(view.push_messages([message]))
    assert [reply.metadata.src_node_id for reply in view.pull_messages(ids)] == [101]
    view.set_run(grid.run)


def test_the_verified_strategy_hands_the_whole_grid_on_while_nobody_is_spent() -> None:
    class Sees(Recording):
        def configure_train(self, server_round, arrays: ArrayRecord, config, grid):  # type: ignore[no-untyped-def]
            self.grid = grid
            return super().configure_train(server_round, arrays, config, grid)

    federation = private_federation()
    inner = Sees()
    federation.inner = inner
    strategy: VerifiedStrategy = federation.new_strategy()
    federation.ask(1, strategy=strategy)
    assert inner.grid is federation.grid
