"""``--aggregation NAME``: another rule in the place of the mean inside a strategy of the FedAvg family.

The rule makes one model of all replies. The strategy is then given a single reply that carries this model: its mean of
one is that model, and what it does next (a server's momentum, Adam's step) works on it as on any mean.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import TypeGuard

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAdagrad, FedAdam, FedAvg, FedAvgM, FedProx, FedYogi, Strategy

from app.strategies.custom_fedavg import CustomFedAvgStrategy, reply_arrays, reply_weight
from app.strategies.wrapper import StrategyWrapper
from shared.aggregation import (
    AGGREGATIONS,
    NEEDS_TRUSTED_UPDATE,
    NO_STATE,
    AggregationContext,
    AggregationRule,
    AggregationState,
)
from shared.config import RunConfig
from shared.errors import ConfigError
from shared.parameters import AnyArray, Arrays
from shared.plugins import is_plugin, load_plugin
from shared.records import from_array_record, to_array_record

_LOG = logging.getLogger(__name__)

# Exactly these: a stranger's subclass may aggregate in a way of its own, which a rule must not silently replace.
_MEAN_INSIDE = (FedAvg, FedProx, FedAvgM, FedAdam, FedYogi, FedAdagrad)


# (server round, global model) -> the model that the server trained from it on data it trusts
TrustedUpdate = Callable[[int, Arrays], Arrays]


def override_aggregation(strategy: Strategy, config: RunConfig, trusted: TrustedUpdate | None = None) -> Strategy:
    """Replace the mean of ``strategy`` by the rule ``config.aggregation``.

    Raises:
        ConfigError: There is no such rule, or the strategy has no mean to replace.
        PluginError: A rule named as ``"pkg.mod:attr"`` cannot be imported.
    """
    rule = aggregation_rule(config.aggregation)
    if not has_mean_inside(strategy):
        raise ConfigError(
            f"aggregation {config.aggregation} replaces the mean of fedavg, fedprox, fedavgm, fedadam, fedyogi, "
            f"fedadagrad and of subclasses of CustomFedAvgStrategy; strategy {config.strategy} aggregates its own way"
        )
    if config.aggregation in NEEDS_TRUSTED_UPDATE and trusted is None:
        raise ConfigError(
            f"aggregation {config.aggregation} compares updates with one that the server trains on data of its own, "
            "which it has in simulations only; choose trimmed-mean, multikrum or geometric-median"
        )
    needs_trusted = config.aggregation in NEEDS_TRUSTED_UPDATE
    return AggregationOverride(
        strategy, rule, num_malicious=config.num_malicious, trusted=trusted if needs_trusted else None
    )


def has_mean_inside(strategy: Strategy) -> TypeGuard[FedAvg]:
    """Tell whether a strategy makes a mean that something else may take the place of."""
    return isinstance(strategy, CustomFedAvgStrategy) or type(strategy) in _MEAN_INSIDE


def aggregation_rule(name: str) -> AggregationRule:
    """Return the rule of that name, or the function that ``"pkg.mod:attr"`` names.

    Raises:
        ConfigError: There is no such rule.
        PluginError: ``"pkg.mod:attr"`` cannot be imported.
    """
    if name in AGGREGATIONS:
        return AGGREGATIONS[name]
    if not is_plugin(name):
        raise ConfigError(f"aggregation must be one of {', '.join(AGGREGATIONS)}, or 'pkg.mod:attr', got {name!r}")
    rule = load_plugin(name, what="aggregation")
    if not callable(rule):
        raise ConfigError(f"aggregation {name!r} is a {type(rule).__name__}; name a function")
    return rule


class AggregationOverride(StrategyWrapper):
    """A strategy of the FedAvg family whose mean is ``rule``."""

    def __init__(
        self,
        inner: FedAvg,
        rule: AggregationRule,
        *,
        num_malicious: int = 0,
        trusted: TrustedUpdate | None = None,
    ) -> None:
        """Replace the mean of ``inner``."""
        super().__init__(inner)
        self._fedavg = inner
        self._rule = rule
        self._num_malicious = num_malicious
        self._trusted = trusted
        self._base: dict[str, AnyArray] = {}
        self._rule_state: AggregationState = NO_STATE

    def state_dict(self) -> dict[str, AnyArray]:
        """Return what the rule remembers; the base comes anew with each round."""
        return dict(self._rule_state)

    def load_state_dict(self, state: dict[str, AnyArray]) -> None:
        """Go on from ``state_dict``'s answer."""
        self._rule_state = dict(state)

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Keep the model that clients start from: rules work on the difference to it."""
        self._base = from_array_record(arrays)
        return self._fedavg.configure_train(server_round, arrays, config, grid)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Apply the rule and hand its model to the strategy."""
        good, _ = self._fedavg._check_and_log_replies(replies, is_train=True)
        if not good:
            return None, None
        contents = [message.content for message in good]
        metrics = self._fedavg.train_metrics_aggr_fn(contents, self._fedavg.weighted_by_key)
        weights = [self._weigh(content) for content in contents]
        model = self._combine(server_round, [reply_arrays(content) for content in contents], weights)
        if model is None:
            _LOG.warning("round %d: too few updates for the aggregation rule; the old model stays", server_round)
            return None, metrics
        arrays, _ = self._fedavg.aggregate_train(server_round, [self._one_reply(good[0], model, metrics)])
        return arrays, metrics

    def _weigh(self, content: RecordDict) -> float:
        if isinstance(self._fedavg, CustomFedAvgStrategy):
            return self._fedavg.weigh(content)
        return reply_weight(content, self._fedavg.weighted_by_key)

    def _combine(self, server_round: int, models: Sequence[Arrays], weights: Sequence[float]) -> Arrays | None:
        context = AggregationContext(
            base=self._base,
            server_round=server_round,
            num_malicious=self._num_malicious,
            trusted=self._trusted(server_round, self._base) if self._trusted else None,
        )
        result, self._rule_state = self._rule(models, weights, context, self._rule_state)
        return None if result is None else result.arrays

    def _one_reply(self, pattern: Message, model: Arrays, metrics: MetricRecord | None) -> Message:
        """Make a reply with the rule's model, which alone has all the weight: w / w x model is the model."""
        reply = copy.copy(pattern)
        reply.content = RecordDict(
            {
                self._fedavg.arrayrecord_key: to_array_record(model),
                "metrics": MetricRecord({**(metrics or {}), self._fedavg.weighted_by_key: 1}),
            }
        )
        return reply
