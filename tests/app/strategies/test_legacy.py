"""Legacy strategies behind today's interface: a hand-written one, and Flower's own against the new ones."""

from __future__ import annotations

import numpy as np
import pytest
from flwr.app import ConfigRecord
from flwr.common import EvaluateIns, FitIns, ndarrays_to_parameters, parameters_to_ndarrays
from flwr.server.strategy import FedAdagrad as LegacyFedAdagrad
from flwr.server.strategy import FedAvg as LegacyFedAvg
from flwr.server.strategy import FedAvgM as LegacyFedAvgM
from flwr.server.strategy import FedProx as LegacyFedProx
from flwr.server.strategy import Strategy as LegacyStrategy
from flwr.serverapp.strategy import FedAdagrad, FedAvg, FedAvgM

from app.strategies.legacy import LegacyStrategyAdapter
from app.strategies.legacy_clients import GridClientManager
from shared.errors import RunFailed
from shared.records import from_array_record

SAMPLING = {"fraction_fit": 0.6, "min_fit_clients": 1, "min_available_clients": 1, "min_evaluate_clients": 1}


class MaximumOfTwo(LegacyStrategy):
    """Asks two clients, each with its own learning rate, and keeps the larger value of each coordinate."""

    def __init__(self, initial=None):
        self.initial = initial
        self.seen = []

    def initialize_parameters(self, client_manager):
        return self.initial

    def configure_fit(self, server_round, parameters, client_manager):
        clients = sorted(client_manager.all().values(), key=lambda client: int(client.cid))[:2]
        return [(client, FitIns(parameters, {"learning_rate": 0.1 * (k + 1)})) for k, client in enumerate(clients)]

    def aggregate_fit(self, server_round, results, failures):
        self.seen = [(int(proxy.cid), result.num_examples, dict(result.metrics)) for proxy, result in results]
        self.failures = failures
        if not results:
            return None, {}
        models = [parameters_to_ndarrays(result.parameters) for _, result in results]
        best = [np.maximum.reduce(layers) for layers in zip(*models, strict=True)]
        return ndarrays_to_parameters(best), {"clients": len(results), "note": "text is left out", "late": False}

    def configure_evaluate(self, server_round, parameters, client_manager):
        return [(client, EvaluateIns(parameters, {})) for client in client_manager.sample(1)]

    def aggregate_evaluate(self, server_round, results, failures):
        return max(result.loss for _, result in results), {"worst": results[0][1].metrics["accuracy"]}

    def evaluate(self, server_round, parameters):
        return (float(server_round), {"sum": float(sum(a.sum() for a in parameters_to_ndarrays(parameters)))})


def test_a_hand_written_aggregate_fit_makes_the_model(federation):
    legacy = MaximumOfTwo()
    adapter = LegacyStrategyAdapter(legacy)
    requests = federation.ask(adapter, 1)
    assert [request.metadata.dst_node_id for request in requests] == [101, 102]
    assert requests[0].metadata.message_type == "train"
    assert dict(requests[1].content["config"]) == {"learning-rate": 0.2, "learning_rate": 0.2, "server-round": 1}
    replies = [federation.train(request) for request in requests]
    arrays, metrics = adapter.aggregate_train(1, replies)
    one, two = (from_array_record(reply.content["arrays"]) for reply in replies)
    assert list(arrays) == ["conv.weight", "conv.bias", "scale"]
    for name, array in from_array_record(arrays).items():
        assert array.dtype == np.float32
        assert np.array_equal(array, np.maximum(one[name], two[name]))
    assert dict(metrics) == {"clients": 2, "late": 0}
    first = dict(replies[0].content["metrics"])
    assert legacy.seen[0] == (101, first.pop("num-examples"), first)


def test_requests_carry_the_model_and_the_settings_of_the_run(federation):
    adapter = LegacyStrategyAdapter(MaximumOfTwo())
    settings = ConfigRecord({"local-epochs": 3, "server-round": 99})
    (request, _) = adapter.configure_train(7, federation.model, settings, federation.grid)
    sent = from_array_record(request.content["arrays"])
    assert all(np.array_equal(sent[name], array.numpy()) for name, array in federation.model.items())
    assert request.content["config"]["local-epochs"] == 3
    assert request.content["config"]["server-round"] == 7


def test_error_replies_and_foreign_arrays_are_failures(federation):
    legacy = MaximumOfTwo()
    adapter = LegacyStrategyAdapter(legacy)
    first, second = federation.ask(adapter, 1)
    foreign = federation.reply(second, {"other": np.ones(2)}, {"num-examples": 1})
    assert adapter.aggregate_train(1, [federation.fail(first), foreign]) == (None, None)
    assert [str(failure) for failure in legacy.failures] == [
        "node 101: out of memory",
        "node 102: the reply's arrays are not those of the model",
    ]


def test_evaluation_goes_both_ways(federation):
    adapter = LegacyStrategyAdapter(MaximumOfTwo())
    (request,) = adapter.configure_evaluate(2, federation.model, ConfigRecord(), federation.grid)
    assert request.metadata.message_type == "evaluate"
    reply = federation.reply(request, {}, {"num-examples": 4, "loss": 0.25, "accuracy": 0.75})
    assert dict(adapter.aggregate_evaluate(2, [reply])) == {"loss": 0.25, "worst": 0.75}
    central = adapter.evaluate_centrally(2, federation.model)
    assert central["loss"] == 2.0
    assert central["sum"] == pytest.approx(6.6 + 0.0 + 1.5)


def test_its_initial_parameters_replace_the_first_model_only(federation):
    zeros = [np.zeros(array.shape, np.float32) for array in from_array_record(federation.model).values()]
    adapter = LegacyStrategyAdapter(MaximumOfTwo(ndarrays_to_parameters(zeros)))
    assert not federation.ask(adapter, 1)[0].content["arrays"]["conv.weight"].numpy().any()
    assert federation.ask(adapter, 2)[0].content["arrays"]["conv.weight"].numpy().any()


def test_a_model_with_too_few_arrays_ends_the_run_with_a_sentence(federation):
    adapter = LegacyStrategyAdapter(MaximumOfTwo(ndarrays_to_parameters([np.zeros(3)])))
    with pytest.raises(RunFailed, match="MaximumOfTwo gave 1 arrays for a model of 3; it must return all"):
        federation.ask(adapter, 1)


def test_legacy_fedavg_equals_the_new_one(make_federation):
    legacy = LegacyStrategyAdapter(LegacyFedAvg(**SAMPLING))
    old = make_federation(10).play(legacy, range(1, 5))
    new = make_federation(10).play(FedAvg(fraction_train=0.6, min_train_nodes=1), range(1, 5))
    for name, array in new.items():
        assert old[name].dtype == array.dtype
        assert old[name] == pytest.approx(array, abs=1e-6)  # values near 1; the old one adds up in float64


def test_legacy_fedadagrad_equals_the_new_one(make_federation):
    start = ndarrays_to_parameters([array.numpy() for array in make_federation(5).model.values()])
    settings = {"eta": 0.1, "eta_l": 0.1, "tau": 1e-3}
    legacy = LegacyStrategyAdapter(LegacyFedAdagrad(**SAMPLING, initial_parameters=start, **settings))
    old = make_federation(5).play(legacy, range(1, 4))
    new = make_federation(5).play(FedAdagrad(fraction_train=0.6, min_train_nodes=1, **settings), range(1, 4))
    for name, array in new.items():
        assert old[name] == pytest.approx(array, rel=1e-4)


def test_legacy_fedavgm_without_initial_parameters_starts_from_the_model(make_federation):
    settings = {"server_momentum": 0.9, "server_learning_rate": 0.5}
    old = make_federation(5).play(LegacyStrategyAdapter(LegacyFedAvgM(**SAMPLING, **settings)), range(1, 4))
    new = make_federation(5).play(FedAvgM(fraction_train=0.6, min_train_nodes=1, **settings), range(1, 4))
    for name, array in new.items():
        assert old[name] == pytest.approx(array, abs=1e-5)


def test_legacy_fedprox_reaches_clients_under_the_name_of_the_wire(federation):
    adapter = LegacyStrategyAdapter(LegacyFedProx(**SAMPLING, proximal_mu=0.3))
    assert federation.ask(adapter, 1)[0].content["config"]["proximal-mu"] == 0.3


def test_clients_are_reached_through_requests_only(federation):
    client = GridClientManager(federation.grid).all()["101"]
    with pytest.raises(RunFailed, match=r"called get_properties\(\) on node 101"):
        client.get_properties(None, None, None)


def test_a_legacy_strategy_waits_until_enough_clients_are_connected(federation):
    naps = []

    def sleep(seconds):
        naps.append(seconds)
        federation.grid.node_ids.append(200 + len(naps))

    manager = GridClientManager(federation.grid, sleep=sleep)
    assert len(manager.sample(2, min_num_clients=7)) == 2
    assert len(naps) == 2
    assert manager.sample(99, min_num_clients=1) == []
    assert not manager.wait_for(1000, timeout=3)
