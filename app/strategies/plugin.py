"""A person's own strategy by ``"pkg.mod:attr"``: a class or a function, of today's interface or the legacy one.

It is called with what it takes: ``config=`` (the whole ``RunConfig``) if it has such a parameter; else with those of
Flower's FedAvg arguments (``fraction_train``, ``min_train_nodes`` ..., or the legacy ``fraction_fit`` ...) that it has;
else with nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping

from flwr.server.strategy import FedAvg as LegacyFedAvg
from flwr.server.strategy import Strategy as LegacyStrategy
from flwr.serverapp.strategy import FedAvg, Strategy

from app.strategies.legacy import LegacyStrategyAdapter
from app.strategies.sampling import legacy_sampling_arguments, sampling_arguments
from shared.config import RunConfig
from shared.errors import ConstellationError, PluginError
from shared.plugins import load_plugin


def load_strategy(config: RunConfig) -> Strategy:
    """Make the strategy that ``config.strategy`` names as ``"pkg.mod:attr"``.

    Raises:
        PluginError: It cannot be imported, cannot be called, or gives something that is no strategy.
    """
    name = config.strategy
    factory = load_plugin(name, what="strategy")
    if isinstance(factory, Strategy | LegacyStrategy) or not callable(factory):
        raise PluginError(
            f"strategy {name!r} is neither a class nor a function but of type {type(factory).__name__}; name the class "
            "of a Flower strategy, or a function that returns a new one"
        )
    return _as_strategy(name, _call(name, factory, config))


def _call(name: str, factory: Callable[..., object], config: RunConfig) -> object:
    try:
        return factory(**_arguments(factory, config))
    except ConstellationError:
        raise
    except Exception as error:  # a person's own code may fail in any way; it is their code we report on
        raise PluginError(
            f"strategy {name!r}: calling it failed ({type(error).__name__}: {error}); it is called with config= if it "
            "takes that, else with Flower's FedAvg arguments that it takes, else with nothing"
        ) from error


def _as_strategy(name: str, made: object) -> Strategy:
    if isinstance(made, Strategy):
        return made
    if isinstance(made, LegacyStrategy):
        return LegacyStrategyAdapter(made)
    raise PluginError(
        f"strategy {name!r} gave a {type(made).__name__}; it must give a flwr.serverapp.strategy.Strategy, or a legacy "
        "flwr.server.strategy.Strategy"
    )


def _arguments(factory: Callable[..., object], config: RunConfig) -> dict[str, object]:
    """Choose what to call ``factory`` with."""
    parameters = inspect.signature(factory).parameters
    if _takes(parameters, "config"):
        return {"config": config}
    available: dict[str, object] = {**legacy_sampling_arguments(config), **sampling_arguments(config)}
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        # A subclass that hands **kwargs on takes what its FedAvg takes.
        heirs = [
            parent for parent in (FedAvg, LegacyFedAvg) if isinstance(factory, type) and issubclass(factory, parent)
        ]
        taken = {key for parent in heirs for key in inspect.signature(parent).parameters}
        return {key: value for key, value in available.items() if key in taken or _takes(parameters, key)}
    return {key: value for key, value in available.items() if _takes(parameters, key)}


def _takes(parameters: Mapping[str, inspect.Parameter], key: str) -> bool:
    by_keyword = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return key in parameters and parameters[key].kind in by_keyword
