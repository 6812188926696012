"""What was done with a client's data: which noise, how often, on which share of the examples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from shared.errors import ConfigError

MAX_DELTA = 1e-5  # unless it is set
SAMPLER = "poisson"  # the accountants' assumption: every example is in a batch with probability q, on its own


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """So many steps of the Poisson-sampled Gaussian mechanism with the same constants."""

    noise_multiplier: float  # sigma: standard deviation of the noise over the clipping norm
    sample_rate: float  # q: each example's chance to be in a step
    steps: int


History = tuple[Segment, ...]  # in the order of time


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How a client goes through its examples in one round."""

    sample_rate: float  # q = 1 / number of batches, which is Opacus's; not batch size / examples
    steps: int  # of one round
    expected_batch: float  # q x examples: what a step's sum is divided by


def sampling_of(*, num_examples: int, batch_size: int, local_epochs: int, local_steps: int = 0) -> Sampling:
    """Say how a round of local training samples.

    Args:
        num_examples: The client's own.
        batch_size: As the settings have it.
        local_epochs: Epochs a round.
        local_steps: When positive, steps a round instead of epochs.

    Raises:
        ConfigError: There are no examples.
    """
    if num_examples < 1:
        raise ConfigError(f"num-examples must be at least 1 for differential privacy, got {num_examples}")
    num_batches = math.ceil(num_examples / batch_size)
    return Sampling(
        sample_rate=1 / num_batches,
        steps=local_steps or local_epochs * num_batches,
        expected_batch=num_examples / num_batches,
    )


def resolve_delta(delta: float, num_examples: int) -> float:
    """Return ``delta``, or min(1e-5, 1/(10 n)) where it is 0.

    Raises:
        ConfigError: It is 1/n or more: publishing one whole example in n would count as private.
    """
    if delta == 0:
        return min(MAX_DELTA, 1 / (10 * num_examples))
    if delta >= 1 / num_examples:
        raise ConfigError(
            f"delta must be below 1/n, which is {1 / num_examples:.3g} for a client of {num_examples} examples, "
            f"got {delta:g}; 0 chooses min(1e-5, 1/(10 n))"
        )
    return delta


def extend(history: Sequence[Segment], segment: Segment) -> History:
    """Append steps, joined with the last ones where their constants are the same."""
    if segment.steps < 1:
        return tuple(history)
    if history:
        last = history[-1]
        if (last.noise_multiplier, last.sample_rate) == (segment.noise_multiplier, segment.sample_rate):
            joined = Segment(
                noise_multiplier=last.noise_multiplier,
                sample_rate=last.sample_rate,
                steps=last.steps + segment.steps,
            )
            return (*history[:-1], joined)
    return (*history, segment)


def num_steps(history: Sequence[Segment]) -> int:
    """Count the steps of a history."""
    return sum(segment.steps for segment in history)
