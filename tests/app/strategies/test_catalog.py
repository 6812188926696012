"""Strategies by name: what each is built with, and which settings it refuses."""

from __future__ import annotations

import pytest
from flwr.serverapp.strategy import Bulyan, FedAdam, FedAvg, FedAvgM, FedProx, FedTrimmedAvg, Krum, MultiKrum

from app.strategies.catalog import STRATEGIES, make_strategy
from app.strategies.custom_fedavg import CustomFedAvgStrategy
from shared.config import RunConfig
from shared.errors import ConfigError


def test_every_name_of_the_issue_builds_a_strategy():
    family = ["fedavg", "fedprox", "fedavgm", "fedadam", "fedyogi", "fedadagrad"]
    robust = ["fedmedian", "fedtrimmedavg", "krum", "multikrum", "bulyan"]
    assert list(STRATEGIES) == family + robust
    for name in family + robust:
        strategy = make_strategy(RunConfig(strategy=name, num_clients=10, fraction=0.7, fraction_evaluate=0.3))
        assert isinstance(strategy, FedAvg)
        assert (strategy.fraction_train, strategy.fraction_evaluate) == (0.7, 0.3)


def test_one_client_is_enough():
    strategy = make_strategy(RunConfig(num_clients=1))
    assert isinstance(strategy, CustomFedAvgStrategy)
    assert (strategy.min_train_nodes, strategy.min_evaluate_nodes, strategy.min_available_nodes) == (1, 1, 1)


def test_min_clients_is_how_many_must_be_connected():
    strategy = make_strategy(RunConfig(num_clients=10, min_clients=4))
    assert isinstance(strategy, FedAvg)
    assert strategy.min_available_nodes == 4


def test_client_side_evaluation_can_be_switched_off():
    strategy = make_strategy(RunConfig(fraction_evaluate=0.0))
    assert isinstance(strategy, FedAvg)
    assert strategy.min_evaluate_nodes == 0


@pytest.mark.parametrize(("given", "used"), [(0.0, 0.1), (0.01, 0.01)])
def test_fedprox_takes_its_mu_or_a_tenth(given, used):
    strategy = make_strategy(RunConfig(strategy="fedprox", proximal_mu=given))
    assert isinstance(strategy, FedProx)
    assert strategy.proximal_mu == used


def test_fedavgm_takes_server_settings():
    strategy = make_strategy(RunConfig(strategy="fedavgm", server_learning_rate=0.5, server_momentum=0.8))
    assert isinstance(strategy, FedAvgM)
    assert (strategy.server_learning_rate, strategy.server_momentum) == (0.5, 0.8)
    default = make_strategy(RunConfig(strategy="fedavgm"))
    assert isinstance(default, FedAvgM)
    assert (default.server_learning_rate, default.server_momentum) == (1.0, 0.9)


@pytest.mark.parametrize(("name", "default"), [("fedadam", 0.1), ("fedyogi", 0.01), ("fedadagrad", 0.1)])
def test_adaptive_strategies_keep_their_own_step_size_unless_told(name, default):
    assert make_strategy(RunConfig(strategy=name)).eta == default
    assert make_strategy(RunConfig(strategy=name, server_learning_rate=0.02)).eta == 0.02
    assert make_strategy(RunConfig(strategy="fedadam")).beta_1 == FedAdam().beta_1


def test_trimmed_mean_trims_as_many_as_are_malicious_whatever_the_cohort():
    for cohort in range(4, 120):
        hostile = (cohort - 2) // 2
        strategy = make_strategy(RunConfig(strategy="fedtrimmedavg", num_clients=cohort, num_malicious=hostile))
        assert isinstance(strategy, FedTrimmedAvg)
        assert int(strategy.beta * cohort) == hostile


def test_krum_family_is_told_how_many_are_malicious():
    krum = make_strategy(RunConfig(strategy="krum", num_clients=7, num_malicious=2))
    multikrum = make_strategy(RunConfig(strategy="multikrum", num_clients=10, num_malicious=2))
    bulyan = make_strategy(RunConfig(strategy="bulyan", num_clients=11, num_malicious=2))
    assert isinstance(krum, Krum)
    assert isinstance(multikrum, MultiKrum)
    assert isinstance(bulyan, Bulyan)
    assert (krum.num_malicious_nodes, krum.num_nodes_to_select) == (2, 1)
    assert (multikrum.num_malicious_nodes, multikrum.num_nodes_to_select) == (2, 6)  # 10 - 2 - 2
    assert bulyan.num_malicious_nodes == 2


@pytest.mark.parametrize(("name", "enough"), [("krum", 7), ("multikrum", 7), ("bulyan", 11), ("fedtrimmedavg", 6)])
def test_too_small_a_cohort_for_the_guarantee_is_refused_before_the_run(name, enough):
    make_strategy(RunConfig(strategy=name, num_clients=2 * enough, fraction=0.5, num_malicious=2))
    with pytest.raises(ConfigError, match=rf"at least {enough} clients a round .* gives {enough - 1}; raise"):
        make_strategy(RunConfig(strategy=name, num_clients=2 * enough - 2, fraction=0.5, num_malicious=2))


def test_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match=r"strategy must be one of fedavg, .* got 'fedagv'; did you mean fedavg\?"):
        make_strategy(RunConfig(strategy="fedagv"))


@pytest.mark.parametrize("name", ["fedavg", "fedprox", "fedmedian", "krum"])
def test_a_server_step_that_nobody_takes_is_refused(name):
    with pytest.raises(ConfigError, match=f"server-learning-rate has no effect with strategy {name}; leave it out"):
        make_strategy(RunConfig(strategy=name, server_learning_rate=0.5))


def test_expected_attackers_are_refused_where_nothing_withstands_them():
    with pytest.raises(ConfigError, match="num-malicious has no effect with strategy fedadam, whose mean withstands"):
        make_strategy(RunConfig(strategy="fedadam", num_malicious=1))
    make_strategy(RunConfig(strategy="fedadam", num_malicious=1, aggregation="trimmed-mean"))
    make_strategy(RunConfig(strategy="fedmedian", num_malicious=1))
