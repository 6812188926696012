"""A person's own strategy by ``pkg.mod:attr``: what it is called with, and what is refused."""

from __future__ import annotations

import textwrap

import pytest
from flwr.server.strategy import FedMedian as LegacyFedMedian

from app.strategies.aggregation_override import AggregationOverride
from app.strategies.catalog import make_strategy
from app.strategies.legacy import LegacyStrategyAdapter
from shared.config import RunConfig
from shared.errors import ConfigError, PluginError

SOURCE = """
from flwr.server.strategy import FedMedian
from flwr.serverapp.strategy import FedAvg, FedMedian as NewMedian
from app.strategies.custom_fedavg import CustomFedAvgStrategy
from shared.errors import ConfigError

class Plain(FedAvg):
    pass

class Ours(CustomFedAvgStrategy):
    pass

class Keywords(FedAvg):
    def __init__(self, power=2, **kwargs):
        super().__init__(**kwargs)
        self.power = power

class Some(FedAvg):
    def __init__(self, fraction_train):
        super().__init__(fraction_train=fraction_train)

class Needy(FedAvg):
    def __init__(self, secret):
        super().__init__()

def with_config(config):
    return NewMedian(fraction_train=config.fraction / 2)

def with_nothing():
    return NewMedian(fraction_train=0.125)

def with_options(**options):
    return NewMedian(fraction_train=0.125, **options)

def picky(config):
    raise ConfigError("alpha must be 1 for picky")

def broken():
    return 1 / 0

def a_dict():
    return {"fraction": 1}

class OldWay(FedMedian):
    pass

instance = NewMedian()
number = 7
"""


@pytest.fixture(autouse=True)
def _module(tmp_path, monkeypatch):
    (tmp_path / "my_strategies.py").write_text(textwrap.dedent(SOURCE), encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))


def build(name, **changes):
    return make_strategy(RunConfig(strategy=f"my_strategies:{name}", fraction=0.5, **changes))


@pytest.mark.parametrize(
    ("name", "fraction"),
    [
        ("Plain", 0.5),
        ("Keywords", 0.5),
        ("Some", 0.5),
        ("with_config", 0.25),
        ("with_nothing", 0.125),
        ("with_options", 0.125),
    ],
)
def test_it_is_called_with_what_it_takes(name, fraction):
    assert build(name).fraction_train == fraction


@pytest.mark.parametrize("name", ["Plain", "Keywords"])
def test_one_client_is_enough_for_a_class_that_takes_flowers_arguments(name):
    strategy = build(name, num_clients=1)
    assert (strategy.min_train_nodes, strategy.min_evaluate_nodes, strategy.min_available_nodes) == (1, 1, 1)


def test_a_legacy_strategy_goes_through_the_adapter():
    adapter = build("OldWay")
    assert isinstance(adapter, LegacyStrategyAdapter)
    legacy = adapter.legacy
    assert isinstance(legacy, LegacyFedMedian)
    assert (legacy.fraction_fit, legacy.min_fit_clients, legacy.min_available_clients) == (0.5, 1, 1)


def test_a_subclass_of_ours_may_be_given_another_mean():
    assert isinstance(build("Ours", aggregation="median"), AggregationOverride)
    for name in ("Plain", "OldWay", "with_nothing"):
        with pytest.raises(ConfigError, match=f"strategy my_strategies:{name} aggregates its own way"):
            build(name, aggregation="median")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("missing", "'my_strategies' has no 'missing'"),
        ("Needy", r"calling it failed \(TypeError: .*'secret'\); it is called with config="),
        ("broken", r"calling it failed \(ZeroDivisionError: division by zero\)"),
        ("a_dict", "gave a dict; it must give a flwr.serverapp.strategy.Strategy"),
        ("instance", "is neither a class nor a function but of type FedMedian; name"),
        ("number", "is neither a class nor a function but of type int; name"),
    ],
)
def test_what_gives_no_strategy_is_refused_with_a_sentence(name, sentence):
    with pytest.raises(PluginError, match=f"strategy 'my_strategies:{name}'.*{sentence}"):
        build(name)


def test_its_own_config_error_is_passed_on():
    with pytest.raises(ConfigError, match="alpha must be 1 for picky"):
        build("picky")


def test_a_module_that_is_not_there_is_named():
    with pytest.raises(PluginError, match="importing 'no_such_module' failed"):
        make_strategy(RunConfig(strategy="no_such_module:Strategy"))
