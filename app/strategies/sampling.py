"""Who takes part in a round: the settings of a run as the arguments of Flower's ``FedAvg`` and its family."""

from __future__ import annotations

from typing import TypedDict

from shared.config import RunConfig


class SamplingArguments(TypedDict):
    """What every strategy of Flower's FedAvg family takes."""

    fraction_train: float
    fraction_evaluate: float
    min_train_nodes: int
    min_evaluate_nodes: int
    min_available_nodes: int


class LegacySamplingArguments(TypedDict):
    """What every strategy of Flower's legacy FedAvg family takes."""

    fraction_fit: float
    fraction_evaluate: float
    min_fit_clients: int
    min_evaluate_clients: int
    min_available_clients: int


def sampling_arguments(config: RunConfig) -> SamplingArguments:
    """Return the FedAvg arguments: at least one client a phase; Flower's default of 2 would wait for ever for one.

    ``min-clients`` is how many must be connected before a round starts; how many of them train is ``fraction``'s.
    """
    return SamplingArguments(
        fraction_train=asked_fraction(config),
        fraction_evaluate=config.evaluating_fraction,
        min_train_nodes=1,
        min_evaluate_nodes=1 if config.evaluating_fraction > 0 else 0,
        min_available_nodes=config.min_clients,
    )


def legacy_sampling_arguments(config: RunConfig) -> LegacySamplingArguments:
    """Return the same for ``flwr.server.strategy.FedAvg`` and its family."""
    return LegacySamplingArguments(
        fraction_fit=asked_fraction(config),
        fraction_evaluate=config.evaluating_fraction,
        min_fit_clients=1,
        min_evaluate_clients=1 if config.evaluating_fraction > 0 else 0,
        min_available_clients=config.min_clients,
    )


def asked_fraction(config: RunConfig) -> float:
    """Return the share of the clients that is asked to train: more than is needed, with over-selection."""
    return min(1.0, config.fraction * config.over_selection)


def train_quorum(config: RunConfig) -> float:
    """Return the share of those asked whose good answers end the train phase.

    With over-selection the first ``fraction`` of all clients is enough (Bonawitz et al., MLSys 2019, section 2.2).
    """
    return config.quorum * config.fraction / asked_fraction(config)


def cohort_size(config: RunConfig) -> int:
    """Return how many clients train in a round when all are connected, rounded as Flower's FedAvg does."""
    return max(int(config.num_clients * config.fraction), 1)
