"""What one bad client does to stock Flower, and does not do here: the round is bit-equal to one without that client."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import (
    Bulyan,
    FedAdam,
    FedAvg,
    FedAvgM,
    FedMedian,
    FedTrimmedAvg,
    Krum,
    MultiKrum,
    Strategy,
)

from shared.events import UpdateCapped, UpdateRejected
from shared.parameters import AnyArray
from shared.reasons import Reason
from shared.records import from_array_record, to_array_record
from tests.actors import MODEL, Federation, bits, honest_work

BAD = "client-1"
Answer = Callable[[Message], RecordDict]


def model_without(client: str, *, num_clients: int = 4, server_round: int = 1) -> dict[str, AnyArray]:
    """Train one round in which a client never replied."""
    federation = Federation(num_clients=num_clients)
    requests = federation.ask(server_round)
    present = [request for request in requests if federation.nodes[request.metadata.dst_node_id] != client]
    arrays, _ = federation.strategy.aggregate_train(server_round, [federation.answer(request) for request in present])
    assert arrays is not None
    return from_array_record(arrays)


def honest(message: Message) -> tuple[dict[str, AnyArray], MetricRecord]:
    content = honest_work(BAD, message)
    arrays = {name: array.copy() for name, array in from_array_record(content["arrays"]).items()}
    return arrays, content["metrics"]  # type: ignore[return-value]


def arrays_changed(change: Callable[[dict[str, AnyArray]], dict[str, AnyArray]]) -> Answer:
    def answer(message: Message) -> RecordDict:
        arrays, metrics = honest(message)
        return RecordDict({"arrays": to_array_record(change(arrays)), "metrics": metrics})

    return answer


def value_set(value: float, dtype: type = np.float32) -> Answer:
    def change(arrays: dict[str, AnyArray]) -> dict[str, AnyArray]:
        arrays["fc.weight"][1, 1] = dtype(value)
        return arrays

    return arrays_changed(change)


def array_replaced(array: AnyArray) -> Answer:
    return arrays_changed(lambda arrays: {**arrays, "conv.bias": array})


def metrics_changed(**changes: float | list[float] | None) -> Answer:
    def answer(message: Message) -> RecordDict:
        arrays, metrics = honest(message)
        record = MetricRecord()
        for key, value in {**metrics, **{key.replace("_", "-"): value for key, value in changes.items()}}.items():
            if value is not None:
                record.__dict__["_data"][key] = value  # past the record's own checks, as hostile code would
        return RecordDict({"arrays": to_array_record(arrays), "metrics": record})

    return answer


def lying_metadata(message: Message) -> RecordDict:
    """Declare the right shape over the bytes of a wrong one."""
    arrays, metrics = honest(message)
    record = ArrayRecord({name: Array(array) for name, array in arrays.items()})
    small = Array(np.zeros(1, np.float32))
    record["conv.bias"] = Array(dtype="float32", shape=(2,), stype=small.stype, data=small.data)
    return RecordDict({"arrays": record, "metrics": metrics})


def header_bomb(message: Message) -> RecordDict:
    """Claim a terabyte in a header of a few bytes."""
    arrays, metrics = honest(message)
    record = ArrayRecord({name: Array(array) for name, array in arrays.items()})
    data = record["conv.bias"].data.replace(b"(2,), }", b"(999999999999,), }")
    header_length = int.from_bytes(data[8:10], "little") + len(b"999999999999") - 1
    data = data[:8] + header_length.to_bytes(2, "little") + data[10:]
    record["conv.bias"] = Array(dtype="float32", shape=(2,), stype="numpy.ndarray", data=data)
    return RecordDict({"arrays": record, "metrics": metrics})


def extra_records(message: Message) -> RecordDict:
    arrays, metrics = honest(message)
    return RecordDict({"arrays": to_array_record(arrays), "metrics": metrics, "more": MetricRecord({"loss": 1.0})})


def two_array_records(message: Message) -> RecordDict:
    arrays, metrics = honest(message)
    return RecordDict({"arrays": to_array_record(arrays), "b": to_array_record(arrays), "metrics": metrics})


CASES: dict[str, tuple[Answer, Reason]] = {
    "NaN weights": (value_set(np.nan), Reason.NON_FINITE),
    "infinite weights": (value_set(np.inf), Reason.NON_FINITE),
    "minus infinite weights": (value_set(-np.inf), Reason.NON_FINITE),
    "num-examples = inf": (metrics_changed(num_examples=float("inf")), Reason.NUM_EXAMPLES),
    "num-examples = NaN": (metrics_changed(num_examples=float("nan")), Reason.NUM_EXAMPLES),
    "num-examples = -9": (metrics_changed(num_examples=-9), Reason.NUM_EXAMPLES),
    "num-examples = 0": (metrics_changed(num_examples=0), Reason.NUM_EXAMPLES),
    "num-examples = True": (metrics_changed(num_examples=True), Reason.NUM_EXAMPLES),
    "num-examples = 20.0": (metrics_changed(num_examples=20.0), Reason.NUM_EXAMPLES),
    "num-examples = a list": (metrics_changed(num_examples=[20.0]), Reason.NUM_EXAMPLES),
    "num-examples = 2**70": (metrics_changed(num_examples=2**70), Reason.NUM_EXAMPLES),
    "no num-examples": (metrics_changed(num_examples=None), Reason.NUM_EXAMPLES),
    "shape (1,) where (2,) is expected": (array_replaced(np.zeros(1, np.float32)), Reason.SCHEMA),
    "a scalar where (2,) is expected": (array_replaced(np.array(0, np.float32)), Reason.SCHEMA),
    "another wrong shape": (array_replaced(np.zeros((2, 7), np.float32)), Reason.SCHEMA),
    "an empty array": (array_replaced(np.zeros(0, np.float32)), Reason.SCHEMA),
    "float64 for float32": (array_replaced(np.zeros(2)), Reason.SCHEMA),
    "int32 for float32": (array_replaced(np.zeros(2, np.int32)), Reason.SCHEMA),
    "complex numbers": (array_replaced(np.zeros(2, np.complex64)), Reason.MALFORMED),
    "strings": (array_replaced(np.array(["a", "b"])), Reason.MALFORMED),
    "metadata that lies": (lying_metadata, Reason.SCHEMA),
    "a header bomb": (header_bomb, Reason.MALFORMED),
    "a missing array": (
        arrays_changed(lambda arrays: {k: v for k, v in arrays.items() if k != "conv.bias"}),
        Reason.SCHEMA,
    ),
    "an extra array": (arrays_changed(lambda arrays: {**arrays, "x": np.zeros(2, np.float32)}), Reason.SCHEMA),
    "no arrays at all": (lambda message: RecordDict({"metrics": honest(message)[1]}), Reason.SCHEMA),
    "two array records": (two_array_records, Reason.SCHEMA),
    "two metric records": (extra_records, Reason.SCHEMA),
    "no records at all": (lambda message: RecordDict(), Reason.SCHEMA),
    "a missing metric key": (metrics_changed(loss=None), Reason.SCHEMA),
    "an extra metric key": (metrics_changed(bonus=1.0), Reason.SCHEMA),
    "a list for a number": (metrics_changed(loss=[1.0, 2.0]), Reason.SCHEMA),
    "a NaN metric": (metrics_changed(loss=float("nan")), Reason.NON_FINITE),
    "a metric no float can hold": (metrics_changed(loss=10**400), Reason.SCHEMA),
    "a change a thousand times the usual": (
        arrays_changed(lambda arrays: {name: array + np.float32(1000) for name, array in arrays.items()}),
        Reason.NORM,
    ),
    "1e38": (value_set(1e38), Reason.NORM),
}


@pytest.mark.parametrize("case", CASES)
def test_a_bad_client_leaves_no_trace_in_the_model(case: str) -> None:
    answer, reason = CASES[case]
    federation = Federation(num_clients=4, work={BAD: lambda _, message: answer(message)})

    model = _train_tolerating_unsignable(federation, case)

    assert model is not None
    assert bits(model) == bits(model_without(BAD))
    assert federation.rejections() == [(BAD if reason is not Reason.MALFORMED else "node-102", reason.value)]
    assert federation.accepted() == ["client-0", "client-2", "client-3"]


def _train_tolerating_unsignable(federation: Federation, case: str) -> dict[str, AnyArray] | None:
    """Train one round; what a stock signing mod will not sign, mallory sends with the signature of something else."""
    replies = []
    for request in federation.ask():
        try:
            replies.append(federation.answer(request))
        except ValueError:
            answer, _ = CASES[case]
            bad = Message(answer(request), reply_to=request)
            federation.work = {}
            bad.content["signature"] = federation.answer(request).content["signature"]
            replies.append(bad)
    arrays, _ = federation.strategy.aggregate_train(1, replies)
    return None if arrays is None else from_array_record(arrays)


def test_an_enrolled_maximum_refuses_a_trillion_examples() -> None:
    federation = Federation(
        num_clients=4, work={BAD: lambda _, m: metrics_changed(num_examples=10**12)(m)}, max_examples=600
    )

    model = federation.train()

    assert model is not None
    assert bits(model) == bits(model_without(BAD))
    assert federation.rejections() == [(BAD, "num-examples")]


def test_without_enrollment_a_trillion_examples_count_as_ten_times_the_median() -> None:
    federation = Federation(num_clients=3, work={BAD: lambda _, m: metrics_changed(num_examples=10**12)(m)})

    model = federation.train()

    # 10, 10**12, 30: the median is 30, so 10 + 300 + 30; steps of 1/8, 2/8, 3/8.
    assert model is not None
    expected = (10 * 1 + 300 * 2 + 30 * 3) / 340 / 8
    np.testing.assert_allclose(model["conv.bias"], expected, rtol=1e-6)
    (cap,) = [event for event in federation.events if isinstance(event, UpdateCapped)]
    assert (cap.client, cap.claimed, cap.counted, cap.bound) == (BAD, 10**12, 300.0, "cohort-median")


def test_an_error_is_no_update_and_its_text_is_cut() -> None:
    federation = Federation(num_clients=4)
    requests = federation.ask()
    replies = [federation.answer(request) for request in requests]
    replies[1] = Message(Error(2, "boom\n\x1b[31m" + "x" * 1000), reply_to=requests[1])

    arrays, _ = federation.strategy.aggregate_train(1, replies)

    assert arrays is not None
    assert bits(from_array_record(arrays)) == bits(model_without(BAD))
    (event,) = [event for event in federation.events if isinstance(event, UpdateRejected)]
    assert event.reason == "client-error"
    assert event.detail.startswith("boom [31mxxx")
    assert len(event.detail) == 300


@pytest.mark.parametrize("reason", [123, b"\xff", ["a", 1], None, "x" * 10**6])
def test_an_error_whose_reason_is_no_text_ends_nothing(reason: object) -> None:
    federation = Federation(num_clients=4)
    requests = federation.ask()
    replies = [federation.answer(request) for request in requests]
    replies[1] = Message(Error(2, reason), reply_to=requests[1])  # type: ignore[arg-type] # as hostile code would

    arrays, _ = federation.strategy.aggregate_train(1, replies)

    assert arrays is not None
    assert bits(from_array_record(arrays)) == bits(model_without(BAD))
    assert [event.reason for event in federation.events if isinstance(event, UpdateRejected)] == ["client-error"]


@pytest.mark.parametrize(
    "inner",
    [
        FedAvgM(min_train_nodes=1, min_available_nodes=1),
        FedAdam(min_train_nodes=1, min_available_nodes=1),
        FedMedian(min_train_nodes=1, min_available_nodes=1),
        FedTrimmedAvg(min_train_nodes=1, min_available_nodes=1),
        Krum(min_train_nodes=1, min_available_nodes=1),
        MultiKrum(min_train_nodes=1, min_available_nodes=1, num_nodes_to_select=2),
        Bulyan(min_train_nodes=1, min_available_nodes=1),
    ],
    ids=lambda inner: type(inner).__name__,
)
def test_any_strategy_of_flower_is_protected(inner: Strategy) -> None:
    federation = Federation(num_clients=5, inner=inner, work={BAD: lambda _, message: CASES["NaN weights"][0](message)})

    model = federation.train()

    assert model is not None
    assert all(np.isfinite(array).all() for array in model.values())
    assert federation.rejections() == [(BAD, "non-finite")]


@pytest.mark.parametrize("value", [3e38, -3e38, 1e25])
def test_a_finite_change_that_overflows_a_momentum_is_refused_in_the_smallest_cohort(value: float) -> None:
    momentum = FedAvgM(server_momentum=0.9, min_train_nodes=1, min_available_nodes=1)
    federation = Federation(num_clients=2, inner=momentum, work={"client-1": lambda _, m: value_set(value)(m)})

    model = federation.train()

    assert federation.rejections() == [("client-1", "norm")]
    assert model is not None
    np.testing.assert_allclose(model["conv.bias"], MODEL["conv.bias"] + 1 / 8, rtol=1e-6)  # client-0's step alone


def test_evaluation_is_protected_too() -> None:
    def lie(client: str, message: Message) -> RecordDict:
        return RecordDict({"metrics": MetricRecord({"num-examples": 20, "loss": float("nan")})})

    federation = Federation(num_clients=3, work={BAD: lie})
    metrics = federation.strategy.aggregate_evaluate(1, federation.replies(1, "evaluate"))

    # Losses 1 and 1/3 with 10 and 30 examples.
    assert metrics is not None
    assert metrics["loss"] == pytest.approx((10 + 10) / 40)
    assert federation.rejections() == [(BAD, "non-finite")]


def test_a_client_without_test_data_is_accepted_and_weighs_nothing() -> None:
    def empty(client: str, message: Message) -> RecordDict:
        return RecordDict({"metrics": MetricRecord({"num-examples": 0, "loss": 0.0})})

    federation = Federation(num_clients=3, work={BAD: empty})
    metrics = federation.strategy.aggregate_evaluate(1, federation.replies(1, "evaluate"))

    assert metrics is not None
    assert metrics["loss"] == pytest.approx(0.5)
    assert federation.accepted() == ["client-0", "client-1", "client-2"]


def test_an_evaluation_reply_must_not_carry_arrays() -> None:
    def stuffed(client: str, message: Message) -> RecordDict:
        return RecordDict({**honest_work(client, message), "arrays": message.content["arrays"]})

    federation = Federation(num_clients=3, work={BAD: stuffed})
    federation.strategy.aggregate_evaluate(1, federation.replies(1, "evaluate"))

    assert federation.rejections() == [(BAD, "schema")]


def test_a_config_record_in_a_reply_reaches_the_strategy() -> None:
    seen: list[RecordDict] = []

    class Curious(FedAvg):
        def aggregate_train(self, server_round, replies):  # type: ignore[no-untyped-def]
            kept = list(replies)
            seen.extend(reply.content for reply in kept)
            return super().aggregate_train(server_round, kept)

    def with_config(client: str, message: Message) -> RecordDict:
        return RecordDict({**honest_work(client, message), "notes": ConfigRecord({"device": "cpu"})})

    federation = Federation(
        num_clients=2,
        inner=Curious(min_train_nodes=1, min_available_nodes=1),
        work={"client-0": with_config, "client-1": with_config},
    )
    federation.train()

    assert [sorted(content) for content in seen] == [["arrays", "metrics", "notes"]] * 2  # no signature
