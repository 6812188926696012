"""Our FedAvg against Flower's, and what a subclass may change."""

from __future__ import annotations

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, RecordDict
from flwr.serverapp.exception import InconsistentMessageReplies
from flwr.serverapp.strategy import FedAvg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.strategies.custom_fedavg import CustomFedAvgStrategy, RecordArrays
from shared.records import from_array_record

SAMPLING = {"fraction_train": 0.6, "min_train_nodes": 1, "min_available_nodes": 1}


def test_a_run_equals_flowers_bit_for_bit(make_federation):
    ours = make_federation(10).play(CustomFedAvgStrategy(**SAMPLING), range(1, 5))
    flowers = make_federation(10).play(FedAvg(**SAMPLING), range(1, 5))
    assert list(ours) == list(flowers)
    for name, array in flowers.items():
        assert ours[name].dtype == array.dtype == np.float32
        assert ours[name].tobytes() == array.tobytes()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
@given(data=st.data(), dtype=st.sampled_from(["float16", "float32", "float64"]))
def test_any_weights_and_values_average_as_flowers_do(federation, data, dtype):
    requests = federation.ask(FedAvg(min_train_nodes=1), 1)
    values = st.lists(st.floats(-100, 100, width=16), min_size=3, max_size=3)
    counts = st.integers(1, 10**9)
    replies = [
        federation.reply(
            request, {"w": np.array(data.draw(values), dtype)}, {"num-examples": data.draw(counts), "loss": 1.5}
        )
        for request in requests
    ]
    arrays, metrics = FedAvg().aggregate_train(1, replies)
    our_arrays, our_metrics = CustomFedAvgStrategy().aggregate_train(1, replies)
    assert our_arrays["w"].numpy().dtype == dtype
    assert np.array_equal(our_arrays["w"].numpy(), arrays["w"].numpy())
    assert our_metrics == metrics


def test_sampling_and_requests_are_flowers(make_federation):
    ours = make_federation(10).ask(CustomFedAvgStrategy(**SAMPLING), 3)
    flowers = make_federation(10).ask(FedAvg(**SAMPLING), 3)
    assert [m.metadata.dst_node_id for m in ours] == [m.metadata.dst_node_id for m in flowers]
    assert [dict(m.content["config"]) for m in ours] == [{"server-round": 3}] * 6


def test_counters_stay_whole_numbers(federation):
    requests = federation.ask(FedAvg(min_train_nodes=1), 1)[:2]
    replies = [
        federation.reply(request, {"steps": np.array(steps)}, {"num-examples": count})
        for request, steps, count in zip(requests, (10, 20), (3, 1), strict=True)
    ]
    arrays, _ = CustomFedAvgStrategy().aggregate_train(1, replies)
    assert arrays["steps"].numpy().dtype == np.int64
    assert arrays["steps"].numpy() == 12  # 12.5, to even


def test_errors_are_left_out_and_no_good_reply_gives_no_model(federation):
    requests = federation.ask(FedAvg(), 1)
    failures = [federation.fail(request) for request in requests]
    assert CustomFedAvgStrategy().aggregate_train(1, failures) == (None, None)
    assert CustomFedAvgStrategy().aggregate_train(1, []) == (None, None)
    good = federation.train(requests[0])
    arrays, _ = CustomFedAvgStrategy().aggregate_train(1, [*failures[1:], good])
    assert np.array_equal(arrays["conv.bias"].numpy(), good.content["arrays"]["conv.bias"].numpy())


def test_inconsistent_replies_end_the_aggregation_as_flowers_do(federation):
    first, second = federation.ask(FedAvg(), 1)[:2]
    replies = [federation.train(first), federation.reply(second, {"other": np.ones(2)}, {"num-examples": 1})]
    with pytest.raises(InconsistentMessageReplies):
        CustomFedAvgStrategy().aggregate_train(1, replies)


class RootWeighted(CustomFedAvgStrategy):
    """Counts a client by the root of its examples."""

    def weigh(self, reply: RecordDict) -> float:
        return super().weigh(reply) ** 0.5


class Last(CustomFedAvgStrategy):
    """Takes the last model."""

    def combine(self, server_round, models, weights):
        return dict(models[-1])


def two_replies(federation) -> list[Message]:
    requests = federation.ask(FedAvg(), 1)[:2]
    return [
        federation.reply(request, {"w": np.array([value])}, {"num-examples": count})
        for request, value, count in zip(requests, (0.0, 3.0), (16, 4), strict=True)
    ]


def test_a_subclass_weighs_clients_its_own_way(federation):
    arrays, _ = RootWeighted().aggregate_train(1, two_replies(federation))
    assert arrays["w"].numpy() == pytest.approx([1.0])  # (4 * 0 + 2 * 3) / 6


def test_a_subclass_combines_models_its_own_way(federation):
    arrays, _ = Last().aggregate_train(1, two_replies(federation))
    assert from_array_record(arrays)["w"].tolist() == [3.0]


def test_arrays_of_a_record_are_decoded_when_asked_for_and_not_before():
    record = ArrayRecord({"good": Array(np.ones(3, np.float32)), "bad": Array("float32", (3,), "numpy.ndarray", b"x")})
    arrays = RecordArrays(record)
    assert list(arrays) == ["good", "bad"]
    assert len(arrays) == 2
    assert arrays["good"].tolist() == [1.0, 1.0, 1.0]
