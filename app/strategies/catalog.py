"""Strategies by name: Flower's own, ours, and anybody's by ``"pkg.mod:attr"``.

To add one: write a builder that takes a ``RunConfig`` and give it a line in ``STRATEGIES``.
"""

from __future__ import annotations

import difflib
import types
from collections.abc import Callable, Mapping

from flwr.serverapp.strategy import (
    Bulyan,
    FedAdagrad,
    FedAdam,
    FedAvgM,
    FedMedian,
    FedProx,
    FedTrimmedAvg,
    FedYogi,
    Krum,
    MultiKrum,
    Strategy,
)

from app.strategies.aggregation_override import TrustedUpdate, override_aggregation
from app.strategies.custom_fedavg import CustomFedAvgStrategy
from app.strategies.plugin import load_strategy
from app.strategies.sampling import cohort_size, sampling_arguments
from app.strategies.secagg import DEFAULT_MAX_EXAMPLES, in_secret
from app.strategies.validation import ValidationPolicy
from shared.aggregation import UPDATES_NEEDED
from shared.config import RunConfig
from shared.errors import ConfigError
from shared.plugins import is_plugin

Builder = Callable[[RunConfig], Strategy]

# The strategies whose mean ``config.aggregation`` may replace, and those that take a step of their own from it.
FEDAVG_FAMILY = ("fedavg", "fedprox", "fedavgm", "fedadam", "fedyogi", "fedadagrad")
_WITH_SERVER_OPTIMIZER = ("fedavgm", "fedadam", "fedyogi", "fedadagrad")

DEFAULT_PROXIMAL_MU = 0.1  # of fedprox when proximal-mu is 0: with mu = 0 it would be fedavg
DEFAULT_TRIM = 0.2  # of each tail, as Flower's FedTrimmedAvg


def make_strategy(
    config: RunConfig, trusted: TrustedUpdate | None = None, max_examples: int = DEFAULT_MAX_EXAMPLES
) -> Strategy:
    """Build the strategy that ``config`` names, with ``config.aggregation`` in the place of its mean.

    Args:
        config: The settings.
        trusted: Trains the server's own update, for the aggregation rules that compare the clients' with it.
        max_examples: The most any client has, for the weights of secure aggregation.

    Raises:
        ConfigError: There is no such strategy or aggregation, or the settings contradict it.
        PluginError: ``"pkg.mod:attr"`` cannot be imported or gives no strategy.
    """
    _refuse_idle_settings(config)
    builder = STRATEGIES.get(config.strategy)
    if builder is None and not is_plugin(config.strategy):
        raise ConfigError(_unknown(config.strategy))
    strategy = builder(config) if builder else load_strategy(config)
    if config.secure_aggregation:
        return in_secret(strategy, config, max_examples)
    if not config.aggregation:
        return strategy
    _refuse_small_cohort(config)
    return override_aggregation(strategy, config, trusted)


def policy_of(config: RunConfig) -> ValidationPolicy:
    """Return the bounds that replies are judged by."""
    return ValidationPolicy(
        min_valid=config.min_valid, max_norm_factor=config.max_norm_factor, max_client_weight=config.max_client_weight
    )


def _refuse_small_cohort(config: RunConfig) -> None:
    """Refuse an aggregation rule whose promise no round could ever keep."""
    needed = UPDATES_NEEDED.get(config.aggregation)
    least, cohort = needed(config.num_malicious) if needed else 0, cohort_size(config)
    if cohort < least:
        raise ConfigError(
            f"aggregation {config.aggregation} with num-malicious {config.num_malicious} needs at least {least} "
            f"clients a round, but num-clients {config.num_clients} with fraction {config.fraction:g} gives {cohort}; "
            "raise num-clients or fraction, or lower num-malicious"
        )


def _refuse_idle_settings(config: RunConfig) -> None:
    """Refuse what a built-in strategy would silently ignore; a plugin gets the whole ``RunConfig`` if it asks."""
    if config.strategy not in STRATEGIES:
        return
    if config.server_learning_rate and config.strategy not in _WITH_SERVER_OPTIMIZER:
        raise ConfigError(
            f"server-learning-rate has no effect with strategy {config.strategy}; leave it out, or choose one of "
            f"{', '.join(_WITH_SERVER_OPTIMIZER)}"
        )
    is_plain = config.strategy in FEDAVG_FAMILY and config.aggregation in ("", "mean")
    if config.num_malicious and is_plain:
        raise ConfigError(
            f"num-malicious has no effect with strategy {config.strategy}, whose mean withstands "
            "nobody; choose aggregation trimmed-mean, median or norm-clip, or strategy krum, multikrum or bulyan"
        )


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name.lower(), STRATEGIES, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"strategy must be one of {', '.join(STRATEGIES)}, or 'pkg.mod:attr', got {name!r}{hint}"


def _fedavg(config: RunConfig) -> Strategy:
    return CustomFedAvgStrategy(**sampling_arguments(config))


def _fedprox(config: RunConfig) -> Strategy:
    return FedProx(**sampling_arguments(config), proximal_mu=config.proximal_mu or DEFAULT_PROXIMAL_MU)


def _fedavgm(config: RunConfig) -> Strategy:
    return FedAvgM(
        **sampling_arguments(config),
        server_learning_rate=config.server_learning_rate or 1.0,
        server_momentum=config.server_momentum,
    )


def _fedopt(kind: type[FedAdam] | type[FedYogi] | type[FedAdagrad]) -> Builder:
    """Make a builder of one of Reddi et al.'s adaptive optimisers, each with its own default step size."""

    def build(config: RunConfig) -> Strategy:
        if config.server_learning_rate:
            return kind(**sampling_arguments(config), eta=config.server_learning_rate)
        return kind(**sampling_arguments(config))

    return build


def _fedmedian(config: RunConfig) -> Strategy:
    return FedMedian(**sampling_arguments(config))


def _fedtrimmedavg(config: RunConfig) -> Strategy:
    cohort, hostile = cohort_size(config), config.num_malicious
    if not hostile:
        return FedTrimmedAvg(**sampling_arguments(config), beta=DEFAULT_TRIM)
    _require_cohort(config, 2 * hostile + 2, "2 x num-malicious + 2")
    # Flower trims int(beta * n) at each end: half an update more keeps f / n * n from rounding down to f - 1.
    return FedTrimmedAvg(**sampling_arguments(config), beta=(hostile + 0.5) / cohort)


def _krum(config: RunConfig) -> Strategy:
    _require_cohort(config, 2 * config.num_malicious + 3, "2 x num-malicious + 3")
    return Krum(**sampling_arguments(config), num_malicious_nodes=config.num_malicious)


def _multikrum(config: RunConfig) -> Strategy:
    _require_cohort(config, 2 * config.num_malicious + 3, "2 x num-malicious + 3")
    # Damaskinos et al., MLSys 2019 (AggregaThor): Multi-Krum is resilient for every m up to n - f - 2.
    selected = cohort_size(config) - config.num_malicious - 2
    return MultiKrum(
        **sampling_arguments(config), num_malicious_nodes=config.num_malicious, num_nodes_to_select=selected
    )


def _bulyan(config: RunConfig) -> Strategy:
    _require_cohort(config, 4 * config.num_malicious + 3, "4 x num-malicious + 3")
    return Bulyan(**sampling_arguments(config), num_malicious_nodes=config.num_malicious)


def _require_cohort(config: RunConfig, least: int, formula: str) -> None:
    """Refuse a run whose rounds could never have enough updates for the strategy's guarantee."""
    cohort = cohort_size(config)
    if cohort < least:
        raise ConfigError(
            f"strategy {config.strategy} with num-malicious {config.num_malicious} needs at least {least} clients "
            f"a round ({formula}), but num-clients {config.num_clients} with fraction {config.fraction:g} gives "
            f"{cohort}; raise num-clients or fraction, or lower num-malicious"
        )


STRATEGIES: Mapping[str, Builder] = types.MappingProxyType(
    {
        "fedavg": _fedavg,
        "fedprox": _fedprox,
        "fedavgm": _fedavgm,
        "fedadam": _fedopt(FedAdam),
        "fedyogi": _fedopt(FedYogi),
        "fedadagrad": _fedopt(FedAdagrad),
        "fedmedian": _fedmedian,
        "fedtrimmedavg": _fedtrimmedavg,
        "krum": _krum,
        "multikrum": _multikrum,
        "bulyan": _bulyan,
    }
)
