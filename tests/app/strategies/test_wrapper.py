"""A wrapper that changes nothing changes nothing."""

from __future__ import annotations

import copy

import pytest
from flwr.app import ConfigRecord
from flwr.serverapp.strategy import DifferentialPrivacyServerSideFixedClipping, FedAvg

from app.strategies.wrapper import StrategyWrapper, innermost
from shared.records import from_array_record, to_array_record
from tests.actors import MODEL, Federation, bits


def fedavg() -> FedAvg:
    return FedAvg(min_train_nodes=1, min_evaluate_nodes=1, min_available_nodes=1)


def test_a_round_through_a_wrapper_is_the_inner_strategys() -> None:
    plain = Federation(num_clients=3, inner=fedavg()).train()
    wrapped = Federation(num_clients=3, inner=StrategyWrapper(StrategyWrapper(fedavg()))).train()

    assert plain is not None
    assert wrapped is not None
    assert bits(plain) == bits(wrapped)


def test_every_method_of_a_strategy_is_handed_on() -> None:
    calls: list[str] = []

    class Listening(FedAvg):
        def __getattribute__(self, name: str) -> object:
            if not name.startswith("_"):
                calls.append(name)
            return super().__getattribute__(name)

    federation = Federation(num_clients=1)
    wrapper = StrategyWrapper(Listening(min_train_nodes=1, min_evaluate_nodes=1, min_available_nodes=1))
    calls.clear()
    arrays = to_array_record(MODEL)
    list(wrapper.configure_train(1, arrays, ConfigRecord(), federation.grid))
    list(wrapper.configure_evaluate(1, arrays, ConfigRecord(), federation.grid))
    wrapper.aggregate_train(1, [])
    wrapper.aggregate_evaluate(1, [])
    wrapper.summary()

    methods = {"configure_train", "configure_evaluate", "aggregate_train", "aggregate_evaluate", "summary"}
    assert methods <= set(calls)


def test_settings_of_the_inner_strategy_show_through() -> None:
    wrapper = StrategyWrapper(StrategyWrapper(FedAvg(weighted_by_key="tokens")))

    assert wrapper.weighted_by_key == "tokens"
    with pytest.raises(AttributeError, match="no_such"):
        _ = wrapper.no_such


def test_a_wrapper_can_be_copied() -> None:
    wrapper = StrategyWrapper(FedAvg())

    assert copy.copy(wrapper).inner is wrapper.inner
    assert copy.deepcopy(wrapper).inner is not wrapper.inner


def test_the_innermost_strategy_is_found_through_ours_and_flowers_wrappers() -> None:
    core = FedAvg()
    private = DifferentialPrivacyServerSideFixedClipping(
        core, noise_multiplier=1.0, clipping_norm=1.0, num_sampled_clients=1
    )

    assert innermost(StrategyWrapper(private)) is core
    assert innermost(core) is core


def test_arrays_are_those_of_the_inner_strategy() -> None:
    federation = Federation(num_clients=1)
    (message,) = StrategyWrapper(fedavg()).configure_train(1, to_array_record(MODEL), ConfigRecord(), federation.grid)

    assert bits(from_array_record(message.content["arrays"])) == bits(MODEL)
