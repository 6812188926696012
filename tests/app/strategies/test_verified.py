"""VerifiedStrategy in rounds: who gets through, what the inner strategy sees, and what a restart changes."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.exception import AggregationError
from flwr.serverapp.strategy import DifferentialPrivacyServerSideFixedClipping, FedAvg
from hypothesis import given, settings
from hypothesis import strategies as st

from app.engine.stages import Stage
from app.strategies.validation import ValidationPolicy
from app.strategies.verification import ExpectedArrays
from app.strategies.verified import VerifiedStrategy
from shared.crypto.signing import PROTOCOL_VERSION
from shared.errors import ConfigError
from shared.events import UpdateAccepted
from shared.parameters import ArraySpec, model_digest
from shared.reasons import Reason
from shared.records import decode_records, encode_records, from_array_record, to_array_record
from tests.actors import (
    FIRST_NODE,
    MODEL,
    RUN_ID,
    Federation,
    bits,
    honest_work,
    identity,
    private_key,
    with_header,
    with_record,
)


class Recording(FedAvg):
    """FedAvg that remembers what it was given."""

    def __init__(self) -> None:
        super().__init__(min_train_nodes=1, min_evaluate_nodes=1, min_available_nodes=1)
        self.given: list[Message] = []

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        self.given = list(replies)
        return super().aggregate_train(server_round, self.given)


class Failing(FedAvg):
    """FedAvg that cannot aggregate."""

    def __init__(self, error: Exception) -> None:
        super().__init__(min_train_nodes=1, min_evaluate_nodes=1, min_available_nodes=1)
        self.error = error

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        raise self.error

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        raise self.error


# Rounds


def test_a_round_of_honest_clients_is_their_weighted_mean() -> None:
    federation = Federation(num_clients=3)

    model = federation.train()

    # Steps 1/8, 2/8, 3/8 with 10, 20, 30 examples: (10 + 40 + 90) / 60 / 8 = 7/24.
    assert model is not None
    for name, array in MODEL.items():
        np.testing.assert_allclose(model[name], array + 7 / 24, rtol=1e-6)
    assert federation.accepted() == ["client-0", "client-1", "client-2"]
    assert federation.rejections() == []


def test_an_accepted_update_is_told_with_its_norm_and_metrics() -> None:
    federation = Federation(num_clients=1)

    federation.train()

    (event,) = [event for event in federation.events if isinstance(event, UpdateAccepted)]
    assert event.num_examples == 10
    assert event.metrics == {"loss": 1.0}
    assert event.norm == pytest.approx((22 / 64) ** 0.5)  # 12 + 2 + 8 values moved by 1/8


def test_asked_again_after_the_aggregation_a_verdict_is_that_of_the_cohort() -> None:
    def other_metrics(client: str, message: Message) -> RecordDict:
        return RecordDict({**honest_work(client, message), "metrics": MetricRecord({"num-examples": 20})})

    federation = Federation(num_clients=3, work={"client-1": other_metrics})
    replies = federation.replies()

    assert all(federation.strategy.receive(1, "train", reply).is_accepted for reply in replies)
    federation.strategy.aggregate_train(1, replies)
    again = [federation.strategy.receive(1, "train", reply).reason for reply in replies]

    assert again == [None, Reason.SCHEMA, None]
    assert federation.rejections() == [("client-1", "schema")]


def test_the_result_does_not_depend_on_the_order_of_arrival() -> None:
    federation = Federation(num_clients=5)
    replies = federation.replies()
    arrays, _ = federation.strategy.aggregate_train(1, replies)

    other = Federation(num_clients=5)
    arrays_reversed, _ = other.strategy.aggregate_train(1, other.replies()[::-1])

    assert arrays is not None
    assert arrays_reversed is not None
    assert bits(from_array_record(arrays)) == bits(from_array_record(arrays_reversed))
    assert other.accepted() == sorted(other.accepted())


def test_replies_can_be_received_one_by_one_and_handed_in_again() -> None:
    federation = Federation(num_clients=3)
    replies = federation.replies()

    verdicts = [federation.strategy.receive(1, "train", reply) for reply in replies]
    again = federation.strategy.receive(1, "train", replies[0])
    federation.strategy.aggregate_train(1, iter(replies))

    assert [(verdict.client, verdict.is_accepted) for verdict in verdicts] == [(c, True) for c in federation.clients]
    assert again is verdicts[0]
    kinds = [event.type for event in federation.events]
    assert (kinds.count("client-identified"), kinds.count("update-accepted"), len(kinds)) == (3, 3, 6)


def test_flowers_own_loop_runs_it() -> None:
    federation = Federation(num_clients=3)

    result = federation.strategy.start(federation.grid, to_array_record(MODEL), num_rounds=3)

    assert federation.rejections() == []
    assert len(federation.accepted()) == 3 * 2 * 3  # clients, phases, rounds
    np.testing.assert_allclose(from_array_record(result.arrays)["conv.bias"], 3 * 7 / 24, rtol=1e-6)
    assert sorted(result.train_metrics_clientapp) == sorted(result.evaluate_metrics_clientapp) == [1, 2, 3]


def test_flowers_own_loop_can_be_started_twice() -> None:
    federation = Federation(num_clients=2)

    federation.strategy.start(federation.grid, to_array_record(MODEL), num_rounds=1)
    federation.strategy.start(federation.grid, to_array_record(MODEL), num_rounds=1)

    assert federation.rejections() == []
    assert len(federation.accepted()) == 8


def test_flowers_own_loop_survives_hostile_clients() -> None:
    def hostile(client: str, message: Message) -> RecordDict:
        return RecordDict({"arrays": to_array_record({"x": np.zeros(3)}), "metrics": MetricRecord({"num-examples": 1})})

    federation = Federation(num_clients=3, work={"client-1": hostile})

    result = federation.strategy.start(federation.grid, to_array_record(MODEL), num_rounds=2)

    assert federation.rejections() == [("client-1", "schema")] * 4
    assert set(from_array_record(result.arrays)) == set(MODEL)


def test_too_few_good_updates_keep_the_old_model_and_say_so(caplog: pytest.LogCaptureFixture) -> None:
    federation = Federation(num_clients=2, policy=ValidationPolicy(min_valid=3))

    with caplog.at_level(logging.WARNING):
        arrays, metrics = federation.strategy.aggregate_train(1, federation.replies())

    assert (arrays, metrics) == (None, None)
    assert federation.strategy.kept_because == "round 1 keeps the old model: 2 good updates, min-valid is 3"
    assert federation.strategy.kept_because in caplog.text


@pytest.mark.parametrize(
    "error", [AggregationError("too few"), ValueError("too few"), ZeroDivisionError("too few")], ids=repr
)
def test_a_strategy_that_cannot_aggregate_keeps_the_old_model(error: Exception) -> None:
    federation = Federation(num_clients=2, inner=Failing(error))

    assert federation.train() is None
    assert federation.strategy.kept_because == "round 1 keeps the old model: Failing cannot aggregate: too few"
    assert federation.strategy.aggregate_evaluate(1, federation.replies(1, "evaluate")) is None


def test_a_fault_in_a_strategys_code_is_not_hidden() -> None:
    federation = Federation(num_clients=2, inner=Failing(AttributeError("typo")))

    with pytest.raises(AttributeError):
        federation.train()


def test_a_model_that_is_not_finite_is_not_taken() -> None:
    class Diverging(FedAvg):
        def aggregate_train(
            self, server_round: int, replies: Iterable[Message]
        ) -> tuple[ArrayRecord | None, MetricRecord | None]:
            return to_array_record({**MODEL, "conv.bias": np.array([np.nan, 0], np.float32)}), MetricRecord()

    federation = Federation(num_clients=2, inner=Diverging(min_train_nodes=1, min_available_nodes=1))

    assert federation.train() is None
    assert "not finite" in federation.strategy.kept_because


# What the inner strategy and the clients see


def test_the_inner_strategy_sees_neither_signatures_nor_requests() -> None:
    inner = Recording()
    federation = Federation(num_clients=2, inner=inner)
    seen: list[list[str]] = []

    def looking(client: str, message: Message) -> RecordDict:
        seen.append(sorted(message.content))
        return honest_work(client, message)

    federation.work = {"client-0": looking}
    federation.train()

    assert [sorted(reply.content) for reply in inner.given] == [["arrays", "metrics"]] * 2
    assert seen == [["arrays", "config"]]


def test_arrays_reach_the_inner_strategy_in_the_models_order() -> None:
    def reversed_arrays(client: str, message: Message) -> RecordDict:
        content = honest_work(client, message)
        arrays = from_array_record(content["arrays"])
        return RecordDict({**content, "arrays": to_array_record(dict(reversed(arrays.items())))})

    inner = Recording()
    Federation(num_clients=2, inner=inner, work={"client-1": reversed_arrays}).train()

    assert [list(reply.content["arrays"]) for reply in inner.given] == [list(MODEL)] * 2


def test_a_lowered_weight_reaches_the_inner_strategy_and_not_the_reply() -> None:
    inner = Recording()
    federation = Federation(num_clients=3, inner=inner, policy=ValidationPolicy(max_client_weight=0.4))
    replies = federation.replies()

    federation.strategy.aggregate_train(1, replies)

    # 10, 20, 30 examples: x = 0.4 (x + 30) -> 20, so client-2 counts 20 of 50.
    assert [reply.content["metrics"]["num-examples"] for reply in inner.given] == [10, 20, pytest.approx(20)]
    assert replies[2].content["metrics"]["num-examples"] == 30


def test_each_client_gets_its_own_records() -> None:
    federation = Federation(num_clients=2)
    first, second = federation.ask()

    first.content["config"]["spoiled"] = 1
    del first.content["arrays"]["conv.bias"]

    assert "spoiled" not in second.content["config"]
    assert "conv.bias" in second.content["arrays"]
    assert first.content["arrays"]["fc.weight"] is second.content["arrays"]["fc.weight"]  # not copied


def test_each_request_has_its_own_nonce_and_all_have_one_signature() -> None:
    records = [message.content["request"] for message in Federation(num_clients=5).ask()]

    assert len({record["nonce"] for record in records}) == 5
    assert all(len(record["nonce"]) == 16 for record in records)
    assert len({record["signature"] for record in records}) == 1


def test_the_header_holds_what_the_specification_names() -> None:
    federation = Federation(num_clients=1)
    (request,) = federation.ask()
    record = federation.answer(request).content["signature"]

    assert {key: record[key] for key in record if key != "signature"} == {
        "run-id": RUN_ID,
        "attempt": 1,
        "server-round": 1,
        "phase": "train",
        "nonce": request.content["request"]["nonce"],
        "client-id": "client-0",
        "node-id": str(FIRST_NODE),
        "key-id": identity("client-0").key_id,
        "algorithm": "RSA-PSS-SHA256",
        "base-digest": model_digest(MODEL),
        "issued-at": 1.5,
        "codec": "raw",
        "protocol-version": PROTOCOL_VERSION,
    }


def test_integer_counters_come_back_as_integers() -> None:
    model = {**MODEL, "bn.num_batches_tracked": np.array(7, np.int64)}

    def counting(client: str, message: Message) -> RecordDict:
        content = honest_work(client, message)
        arrays = from_array_record(content["arrays"])
        number = int(client[-1]) + 1
        return RecordDict(
            {**content, "arrays": to_array_record({**arrays, "bn.num_batches_tracked": np.array(7 + number)})}
        )

    federation = Federation(num_clients=3, model=model, work={f"client-{i}": counting for i in range(3)})
    result = federation.train()

    assert result is not None
    # 8, 9, 10 with 10, 20, 30 examples: 9.33.
    assert (result["bn.num_batches_tracked"].dtype, result["bn.num_batches_tracked"].shape) == (np.int64, ())
    assert result["bn.num_batches_tracked"] == 9


def test_a_wrapped_privacy_strategy_works_and_its_settings_show_through() -> None:
    inner = DifferentialPrivacyServerSideFixedClipping(
        FedAvg(min_train_nodes=1, min_available_nodes=1, weighted_by_key="num-examples"),
        noise_multiplier=0.0,
        clipping_norm=1e9,
        num_sampled_clients=3,
    )
    federation = Federation(num_clients=3, inner=inner)

    model = federation.train()

    assert model is not None
    np.testing.assert_allclose(model["conv.bias"], 7 / 24, rtol=1e-5)
    assert federation.strategy.clipping_norm == 1e9
    assert copy.copy(federation.strategy).inner is inner
    with pytest.raises(AttributeError):
        _ = federation.strategy.no_such_setting


def test_a_strategy_weighted_by_another_key_is_judged_by_that_key() -> None:
    def tokens(client: str, message: Message) -> RecordDict:
        content = honest_work(client, message)
        return RecordDict({**content, "metrics": MetricRecord({"tokens": -1 if client == "client-1" else 5})})

    inner = FedAvg(min_train_nodes=1, min_available_nodes=1, weighted_by_key="tokens")
    federation = Federation(num_clients=3, inner=inner, work=dict.fromkeys([f"client-{i}" for i in range(3)], tokens))
    federation.train()

    assert federation.rejections() == [("client-1", "num-examples")]


class TwoRecords:
    """The schema of a strategy whose clients send control variates beside the model."""

    def expected(self, phase: str, model: Mapping[str, ArraySpec]) -> Mapping[str, ExpectedArrays]:
        return {
            "arrays": ExpectedArrays(specs=model, is_update=True),
            "variates": ExpectedArrays(specs=model),
        }


class AnyUpdate:
    """The schema of a strategy whose clients choose which arrays they send."""

    def expected(self, phase: str, model: Mapping[str, ArraySpec]) -> Mapping[str, ExpectedArrays]:
        return {"arrays": ExpectedArrays(specs=None, is_update=True)}


def test_arrays_beside_the_models_are_checked_too() -> None:
    def with_more(client: str, message: Message) -> RecordDict:
        content = honest_work(client, message)
        more = {
            **from_array_record(content["arrays"]),
            "more": np.array([1.0, np.nan if client == "client-1" else 2.0]),
        }
        return RecordDict({**content, "arrays": to_array_record(more)})

    clients = [f"client-{index}" for index in range(3)]
    federation = Federation(
        num_clients=3, work=dict.fromkeys(clients, with_more), options={"reply_schema": AnyUpdate()}
    )
    federation.train()

    assert federation.rejections() == [("client-1", "non-finite")]


def test_a_strategy_can_ask_for_more_than_the_model() -> None:
    def with_variates(client: str, message: Message) -> RecordDict:
        content = honest_work(client, message)
        value = np.nan if client == "client-2" else 0.5
        variates = {name: np.full_like(array, value) for name, array in MODEL.items()}
        return RecordDict({**content, "variates": to_array_record(variates)})

    federation = Federation(
        num_clients=3,
        work={"client-0": with_variates, "client-2": with_variates},
        options={"reply_schema": TwoRecords()},
    )
    verdicts = [federation.strategy.receive(1, "train", reply) for reply in federation.replies()]

    assert [verdict.reason for verdict in verdicts] == [None, Reason.SCHEMA, Reason.NON_FINITE]


# Restarts and attempts


def test_after_a_restart_all_honest_clients_are_accepted_in_the_new_attempt() -> None:
    federation = Federation(num_clients=3)
    federation.strategy.begin_round(4, attempt=1)
    before = federation.replies(4)
    for reply in before:
        assert federation.strategy.receive(4, "train", reply).is_accepted

    federation.strategy = federation.new_strategy()  # killed between the replies and the aggregation
    federation.strategy.begin_round(4, attempt=2)
    model = federation.train(4)

    assert model is not None
    assert federation.rejections() == []


def test_replies_from_before_a_restart_are_stale() -> None:
    # Nonces and the set of answers end with the process. What is durable is the attempt, so that is what refuses them.
    federation = Federation(num_clients=3)
    federation.strategy.begin_round(4, attempt=1)
    before = federation.replies(4)

    federation.strategy = federation.new_strategy()
    federation.strategy.begin_round(4, attempt=2)
    federation.ask(4)

    verdicts = [federation.strategy.receive(4, "train", reply) for reply in before]
    assert [verdict.reason for verdict in verdicts] == [Reason.STALE_ATTEMPT] * 3


def test_replies_from_before_a_restart_are_stale_even_when_the_nonces_come_again() -> None:
    federation = Federation(num_clients=1, options={"random_bytes": bytes})
    federation.strategy.begin_round(4, attempt=1)
    (before,) = federation.replies(4)

    federation.strategy = federation.new_strategy()
    federation.strategy.begin_round(4, attempt=2)
    federation.ask(4)

    assert federation.strategy.receive(4, "train", before).reason == Reason.STALE_ATTEMPT


def test_a_stale_reply_cannot_be_given_the_new_attempt() -> None:
    federation = Federation(num_clients=1, options={"random_bytes": bytes})
    federation.strategy.begin_round(4, attempt=1)
    (before,) = federation.replies(4)
    federation.strategy.begin_round(4, attempt=2)
    federation.ask(4)

    assert federation.strategy.receive(4, "train", with_header(before, attempt=2)).reason == Reason.BAD_SIGNATURE


def test_a_late_reply_to_training_does_not_count_as_evaluation() -> None:
    federation = Federation(num_clients=1)
    (trained,) = federation.replies(1)
    federation.ask(1, "evaluate")

    assert federation.strategy.receive(1, "evaluate", trained).reason == Reason.WRONG_PHASE


def test_a_reply_that_nobody_asked_for_is_refused() -> None:
    federation = Federation(num_clients=1)
    (reply,) = federation.replies(1)

    assert federation.new_strategy().receive(1, "train", reply).reason == Reason.WRONG_ROUND
    assert federation.strategy.receive(2, "train", reply).reason == Reason.WRONG_ROUND


def test_aggregating_what_was_never_asked_keeps_the_model() -> None:
    federation = Federation(num_clients=2)
    replies = federation.replies()

    assert federation.new_strategy().aggregate_train(1, replies) == (None, None)


# Nodes and clients


def test_a_node_belongs_to_the_client_of_its_first_valid_reply() -> None:
    federation = Federation(num_clients=2)
    federation.train(1)
    requests = federation.ask(2)

    moved = federation.answer(requests[0], client="client-1", signer=identity("client-1"))

    assert federation.strategy.receive(2, "train", moved).reason == Reason.NODE_MISMATCH
    assert federation.rejections() == [("client-0", "node-mismatch")]  # who was asked there


def test_a_client_may_come_back_at_another_node() -> None:
    federation = Federation(num_clients=1)
    federation.train(1)

    federation.nodes = {FIRST_NODE + 50: "client-0"}
    federation.grid.nodes = [FIRST_NODE + 50]

    assert federation.train(2) is not None
    assert federation.rejections() == []


def test_a_client_counts_once_at_however_many_nodes() -> None:
    federation = Federation(num_clients=2)
    federation.nodes[FIRST_NODE + 1] = "client-0"
    federation.strategy.aggregate_train(1, federation.replies())

    assert federation.accepted() == ["client-0"]
    assert [reason for _, reason in federation.rejections()] == ["replay"]


def test_a_forgery_is_charged_to_the_node_it_came_from() -> None:
    federation = Federation(num_clients=2)
    federation.train(1)
    request = federation.ask(2)[0]
    forged = federation.answer(request, client="client-1", signer=identity("client-1", key_name="mallory"))

    federation.strategy.receive(2, "train", forged)

    assert federation.rejections() == [("client-0", "unknown-key")]


def test_an_engine_that_knows_its_clients_says_who_was_asked() -> None:
    federation = Federation(num_clients=2, options={"client_of": lambda node_id: f"client-{node_id - FIRST_NODE}"})
    requests = federation.ask()
    posing = federation.answer(requests[0], client="client-1", signer=identity("client-1"))

    assert federation.strategy.receive(1, "train", posing).reason == Reason.NODE_MISMATCH
    assert federation.rejections() == [("client-0", "node-mismatch")]


# Without signatures


def test_without_signatures_values_are_still_checked() -> None:
    federation = Federation(num_clients=3)
    federation.strategy = VerifiedStrategy(
        Recording(), run_id=RUN_ID, emit=federation.events.append, require_signatures=False
    )
    requests = federation.ask()
    replies = [Message(honest_work(federation.nodes[r.metadata.dst_node_id], r), reply_to=r) for r in requests]
    replies[1].content["metrics"]["num-examples"] = -1

    arrays, _ = federation.strategy.aggregate_train(1, [*replies, copy.copy(replies[0])])

    assert arrays is not None
    assert [sorted(request.content) for request in requests] == [["arrays", "config"]] * 3
    assert federation.accepted() == [f"node-{FIRST_NODE}", f"node-{FIRST_NODE + 2}"]
    assert [reason for _, reason in federation.rejections()] == ["num-examples", "replay"]


def test_signatures_without_a_directory_are_a_mistake() -> None:
    with pytest.raises(ConfigError, match="directory"):
        VerifiedStrategy(FedAvg(), run_id=RUN_ID, server_key=private_key("server"))


def test_an_unsigned_reply_says_what_is_missing() -> None:
    federation = Federation(num_clients=1)
    (request,) = federation.ask()

    verdict = federation.strategy.receive(1, "train", Message(honest_work("client-0", request), reply_to=request))

    assert verdict.reason == Reason.MALFORMED
    assert "signing mod" in verdict.detail


def test_the_summary_is_the_inner_strategys() -> None:
    called = []

    class Telling(FedAvg):
        def summary(self) -> None:
            called.append(True)

    Federation(num_clients=1, inner=Telling()).strategy.summary()

    assert called == [True]


def test_the_config_of_a_round_reaches_the_inner_strategy() -> None:
    federation = Federation(num_clients=1)
    config = ConfigRecord({"learning-rate": 0.5})

    (message,) = federation.strategy.configure_train(3, to_array_record(MODEL), config, federation.grid)

    assert dict(message.content["config"]) == {"learning-rate": 0.5, "server-round": 3}


# Stages


class Staged(Recording):
    """A strategy that exchanges something before it trains."""

    stage = Stage(name="share", timeout_s=1.0, min_replies=1)

    def __init__(self) -> None:
        super().__init__()
        self.shared: list[Message] = []

    def stages(self, server_round: int) -> Sequence[Stage]:
        return [self.stage]

    def configure_stage(
        self, stage: Stage, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> list[Message]:
        content = RecordDict({"config": ConfigRecord({"server-round": server_round})})
        return [Message(content, node_id, f"train.{stage.name}") for node_id in grid.get_node_ids()]

    def finish_stage(self, stage: Stage, server_round: int, replies: Sequence[Message]) -> None:
        self.shared = list(replies)


def test_the_stages_of_a_strategy_are_signed_and_verified_too() -> None:
    def share(client: str, message: Message) -> RecordDict:
        return RecordDict({"shares": ConfigRecord({f"for-{client}": client.encode()})})

    inner = Staged()
    federation = Federation(num_clients=3, inner=inner, work=dict.fromkeys(["client-0", "client-1", "client-2"], share))
    (stage,) = federation.strategy.stages(1)
    requests = federation.strategy.configure_stage(stage, 1, to_array_record(MODEL), ConfigRecord(), federation.grid)
    replies = [federation.answer(request) for request in requests]
    replies[1] = with_record(replies[1], "shares", ConfigRecord({"for-client-1": b"mallory"}))
    federation.strategy.finish_stage(stage, 1, replies)

    assert [dict(reply.content["shares"]) for reply in inner.shared] == [
        {"for-client-0": b"client-0"},
        {"for-client-2": b"client-2"},
    ]
    assert [reason for _, reason in federation.rejections()] == ["bad-signature"]
    assert replies[0].content["signature"]["phase"] == "train.share"


def test_a_strategy_without_stages_has_none() -> None:
    assert list(Federation(num_clients=1).strategy.stages(1)) == []


# What comes over a wire


def test_requests_and_replies_survive_being_written_and_read() -> None:
    federation = Federation(num_clients=2)
    replies = []
    for request in federation.ask():
        request.content = decode_records(encode_records(request.content))
        reply = federation.answer(request)
        reply.content = decode_records(encode_records(reply.content))
        replies.append(reply)

    assert [federation.strategy.receive(1, "train", reply).is_accepted for reply in replies] == [True, True]


def test_arrays_in_flowers_own_serialisation_are_the_same_arrays() -> None:
    def stock(client: str, message: Message) -> RecordDict:
        content = honest_work(client, message)
        arrays = ArrayRecord({name: Array(array.numpy()) for name, array in content["arrays"].items()})
        return RecordDict({**content, "arrays": arrays})

    federation = Federation(num_clients=2, work={"client-0": stock, "client-1": stock})
    ours = Federation(num_clients=2).train()
    stocks = federation.train()

    assert ours is not None
    assert stocks is not None
    assert bits(ours) == bits(stocks)


ANY_VALUE = st.one_of(
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.just(10**5000),
    st.floats(),
    st.text(max_size=4),
    st.binary(max_size=4),
    st.none(),
    st.lists(st.one_of(st.floats(), st.integers(), st.booleans(), st.none()), max_size=3),
)
NAMES = st.sampled_from(["arrays", "metrics", "signature", "num-examples", "loss", "conv.bias", "\ud800", ""])


@st.composite
def contents(draw: st.DrawFn) -> RecordDict:
    """Draw a reply that no well-behaved program would send."""
    content = RecordDict()
    for name in draw(st.lists(NAMES, max_size=4, unique=True)):
        record = draw(st.sampled_from([ArrayRecord, MetricRecord, ConfigRecord]))()
        for key in draw(st.lists(NAMES, max_size=4, unique=True)):
            if isinstance(record, ArrayRecord):
                dtype = draw(st.sampled_from(["float32", "object", "nonsense"]))
                stype = draw(st.sampled_from(["numpy.ndarray", "pickle"]))
                record[key] = Array(dtype=dtype, shape=(2,), stype=stype, data=draw(st.binary(max_size=20)))
            else:
                record.__dict__["_data"][key] = draw(ANY_VALUE)
        content[name] = record
    return content


@pytest.mark.parametrize("is_signed", [True, False])
@settings(max_examples=100)
@given(content=contents())
def test_no_reply_raises(is_signed: bool, content: RecordDict) -> None:
    federation = Federation(num_clients=1)
    if not is_signed:
        federation.strategy = VerifiedStrategy(
            Recording(), run_id=RUN_ID, emit=federation.events.append, require_signatures=False
        )
    (request,) = federation.ask()
    if is_signed and "signature" not in content:
        content["signature"] = federation.answer(request).content["signature"]

    verdict = federation.strategy.receive(1, "train", Message(content, reply_to=request))
    federation.strategy.aggregate_train(1, [Message(content, reply_to=request)])

    assert not verdict.is_accepted
    assert len(federation.events) == 2
    assert all(str(event) for event in federation.events)
