"""Changes of a model as whole numbers whose weighted sum fits 32 bits, and back.

Masks live in the integers modulo 2^32, so values do too: each coordinate is clipped, rounded to a grid, and multiplied
by the client's weight; the sum over the cohort never wraps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.errors import ConfigError
from shared.secagg.masks import Words

MODULUS_BITS = 32
MAX_TOTAL_WEIGHT_BITS = 14  # shared by the cohort: leaves 18 bits to a coordinate
FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantisation:
    """The grid that all clients of a round use."""

    clip: float  # coordinates outside [-clip, clip] are cut
    max_weight: int  # of one client
    cohort: int  # clients at the most

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ConfigError: The sum of so many clients would not fit.
        """
        if not 0 < self.clip < float("inf") or self.max_weight < 1 or self.cohort < 1:
            raise ConfigError(f"secure aggregation needs a positive clip, weight and cohort, got {self}")
        if self.levels < 2**8 - 1:
            raise ConfigError(
                f"{self.cohort} clients of weights up to {self.max_weight} leave {self.levels} steps to a value, and "
                "255 are needed; ask fewer clients a round"
            )

    @property
    def levels(self) -> int:
        """Steps of the grid: the largest sum, cohort x max_weight x levels, is below 2^32."""
        return int((2**MODULUS_BITS - 1) // (self.cohort * self.max_weight))

    @property
    def step(self) -> float:
        """Width of a step; a value is off by at most half of it."""
        return 2 * self.clip / self.levels

    def encode(self, change: FloatArray, weight: int) -> Words:
        """Return the weighted change, and the weight behind it: (coordinates + 1,)."""
        places = np.rint((np.clip(change, -self.clip, self.clip) + self.clip) / self.step)
        words = np.empty(change.size + 1, np.uint32)
        words[:-1] = places.astype(np.uint64) * np.uint64(weight)
        words[-1] = weight
        return words

    def decode(self, total: Words) -> tuple[FloatArray, int]:
        """Return the weighted mean of the changes, and the sum of the weights.

        Raises:
            ValueError: The sum holds no weight, or more than the cohort can have: a mask is left in it.
        """
        weight = int(total[-1])
        if not 1 <= weight <= self.cohort * self.max_weight:
            raise ValueError("the unmasked sum has an impossible weight")
        mean: FloatArray = total[:-1].astype(np.float64) / weight * self.step - self.clip
        return mean, weight


def weight_levels(max_examples: int, cohort: int) -> int:
    """Return the largest weight of one client: its examples themselves where they fit, else a scale of them."""
    return max(1, min(max_examples, (1 << MAX_TOTAL_WEIGHT_BITS) // cohort))


def weight_of(num_examples: int, max_examples: int, max_weight: int) -> int:
    """Return a client's weight for its examples; whoever has more than ``max_examples`` counts as having these."""
    counted = min(max(num_examples, 1), max_examples)
    return max(1, round(counted * max_weight / max_examples))
