"""``--aggregation``: another rule in the place of the mean inside the FedAvg family, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
from flwr.serverapp.exception import InconsistentMessageReplies
from flwr.serverapp.strategy import FedAvg

from app.strategies.aggregation_override import AggregationOverride, aggregation_rule
from app.strategies.catalog import FEDAVG_FAMILY, STRATEGIES, make_strategy
from app.strategies.custom_fedavg import CustomFedAvgStrategy
from shared.aggregation import NO_STATE, AggregationResult
from shared.config import RunConfig
from shared.errors import ConfigError
from shared.records import from_array_record


class Rooted(CustomFedAvgStrategy):
    """Needs the metric ``accuracy`` to weigh a client."""

    def weigh(self, reply):
        return super().weigh(reply) * reply["metrics"]["accuracy"]


def not_a_median(*, config):
    return FedAvg()


def remembering(updates, num_examples, context, state):
    """Move by the first delta plus what was moved before."""
    before = state.get("moved", np.zeros_like(context.base["w"]))
    moved = before + updates[0]["w"] - context.base["w"]
    return AggregationResult(arrays={"w": context.base["w"] + moved}), {"moved": moved}


def refusing(updates, num_examples, context, state):
    return None, state


def settings(**changes):
    return RunConfig(num_clients=5, **changes)


@pytest.mark.parametrize("name", FEDAVG_FAMILY)
def test_the_rule_mean_is_the_strategys_own_mean(make_federation, name):
    own = make_federation(5).play(make_strategy(settings(strategy=name)), range(1, 4))
    rule = make_federation(5).play(make_strategy(settings(strategy=name, aggregation="mean")), range(1, 4))
    for key, array in own.items():
        assert rule[key].dtype == array.dtype
        # The mean of deltas in float64 against the mean of models in float32.
        assert rule[key] == pytest.approx(array, rel=2e-4, abs=2e-5)


def test_the_median_replaces_the_mean_of_fedavg_to_the_bit(federation):
    strategy = make_strategy(settings(aggregation="median"))
    replies = [federation.train(request) for request in federation.ask(strategy, 1)]
    arrays, _ = strategy.aggregate_train(1, replies)
    for name, array in from_array_record(arrays).items():
        stack = np.stack([reply.content["arrays"][name].numpy() for reply in replies])
        assert array == pytest.approx(np.median(stack, axis=0), rel=1e-6)


def test_the_servers_momentum_works_on_the_rules_model(federation):
    strategy = make_strategy(settings(strategy="fedavgm", aggregation="median", server_learning_rate=0.5))
    replies = [federation.train(request) for request in federation.ask(strategy, 1)]
    arrays, _ = strategy.aggregate_train(1, replies)
    for name, array in from_array_record(arrays).items():
        start = federation.model[name].numpy()
        middle = np.median(np.stack([reply.content["arrays"][name].numpy() for reply in replies]), axis=0)
        assert array == pytest.approx(start - 0.5 * (start - middle), rel=1e-5, abs=1e-6)


def test_metrics_are_those_of_all_replies(federation):
    strategy = make_strategy(settings(aggregation="median"))
    replies = [federation.train(request) for request in federation.ask(strategy, 1)]
    _, metrics = strategy.aggregate_train(1, replies)
    _, own = FedAvg().aggregate_train(1, replies)
    assert metrics == own


def test_one_client_that_lies_does_not_move_a_trimmed_mean(federation):
    strategy = make_strategy(settings(aggregation="trimmed-mean", num_malicious=1))
    requests = federation.ask(strategy, 1)
    replies = [federation.train(request) for request in requests[:4]]
    shapes = from_array_record(requests[4].content["arrays"])
    lie = {name: np.full_like(array, 1e30) for name, array in shapes.items()}
    replies.append(federation.reply(requests[4], lie, {"num-examples": 10**9, "loss": 0.0, "accuracy": 1.0}))
    arrays, _ = strategy.aggregate_train(1, replies)
    assert all(np.abs(array).max() < 10 for array in from_array_record(arrays).values())


def test_a_subclass_of_ours_still_weighs_its_clients(federation):
    strategy = AggregationOverride(Rooted(), aggregation_rule("mean"))
    requests = federation.ask(strategy, 1)[:2]
    replies = [
        federation.reply(request, {"w": np.array([value])}, {"num-examples": 10, "accuracy": accuracy})
        for request, value, accuracy in zip(requests, (0.0, 4.0), (0.75, 0.25), strict=True)
    ]
    strategy._base = {"w": np.zeros(1)}
    arrays, _ = strategy.aggregate_train(1, replies)
    assert arrays["w"].numpy().tolist() == [1.0]


def test_a_rule_keeps_its_state_between_rounds(federation):
    strategy = AggregationOverride(FedAvg(), remembering)
    strategy._base = {"w": np.zeros(1)}
    request = federation.ask(FedAvg(), 1)[0]
    reply = federation.reply(request, {"w": np.array([2.0])}, {"num-examples": 1})
    models = [strategy.aggregate_train(number, [reply])[0]["w"].numpy().tolist() for number in (1, 2, 3)]
    assert models == [[2.0], [4.0], [6.0]]


def test_a_rule_that_refuses_keeps_the_old_model(federation):
    strategy = AggregationOverride(FedAvg(), refusing)
    replies = [federation.train(request) for request in federation.ask(strategy, 1)]
    arrays, metrics = strategy.aggregate_train(1, replies)
    assert arrays is None
    assert metrics is not None
    assert strategy.aggregate_train(1, []) == (None, None)


def test_inconsistent_replies_are_refused_as_flower_does(federation):
    strategy = AggregationOverride(FedAvg(), aggregation_rule("mean"))
    first, second = federation.ask(strategy, 1)[:2]
    with pytest.raises(InconsistentMessageReplies):
        strategy.aggregate_train(
            1, [federation.train(first), federation.reply(second, {"other": np.ones(2)}, {"num-examples": 1})]
        )


@pytest.mark.parametrize("name", [name for name in STRATEGIES if name not in FEDAVG_FAMILY])
def test_strategies_without_a_mean_refuse_another(name):
    with pytest.raises(ConfigError, match=rf"aggregation median replaces the mean of fedavg, .* strategy {name} agg"):
        make_strategy(settings(strategy=name, aggregation="median"))


def test_unknown_rule_is_refused_with_the_list():
    wanted = r"aggregation must be one of mean, norm-clip, median, .*, fltrust, or 'pkg.mod:attr', got 'krumm'"
    with pytest.raises(ConfigError, match=wanted):
        make_strategy(settings(aggregation="krumm"))


def test_a_persons_own_rule_by_name():
    rule = aggregation_rule("shared.aggregation.coordinates:coordinate_median")
    assert rule is aggregation_rule("median")
    with pytest.raises(ConfigError, match="is a mappingproxy; name a function"):
        aggregation_rule("shared.aggregation:NO_STATE")
    assert NO_STATE == {}


def test_a_rule_that_no_round_could_satisfy_is_refused_before_the_run():
    wanted = r"aggregation bulyan with num-malicious 2 needs at least 11 clients a round, .* gives 10; raise"
    with pytest.raises(ConfigError, match=wanted):
        make_strategy(RunConfig(aggregation="bulyan", num_malicious=2, num_clients=20, fraction=0.5))
    make_strategy(RunConfig(aggregation="bulyan", num_malicious=2, num_clients=22, fraction=0.5))


def test_fltrust_needs_an_update_of_the_servers_own(federation):
    with pytest.raises(ConfigError, match="aggregation fltrust compares updates with one that the server trains"):
        make_strategy(settings(aggregation="fltrust"))
    seen = []

    def trusted(server_round, base):
        seen.append((server_round, base["w"].tolist()))
        return {"w": base["w"] + 1.0}

    strategy = AggregationOverride(FedAvg(), aggregation_rule("fltrust"), trusted=trusted)
    strategy._base = {"w": np.array([1.0])}
    request = federation.ask(FedAvg(), 1)[0]
    reply = federation.reply(request, {"w": np.array([6.0])}, {"num-examples": 1})  # 5 further, the same way
    arrays, _ = strategy.aggregate_train(3, [reply])
    assert seen == [(3, [1.0])]
    assert arrays["w"].numpy() == pytest.approx([2.0])  # at the length of the trusted change
