"""Distances between updates, the same bits on every machine.

Rules that choose by distance (Krum, the geometric median) must choose alike on all peers of a mesh, or their models
part. A matrix product is the fast way to all distances, but its order of additions is the machine's own. So each delta
is split into two whole numbers of 17 bits, high and low, in the manner of Ozaki et al., Numerical Algorithms 59 (2012):
products of such numbers and their sums over a block stay below 2^53, where float64 adds exactly in any order. What is
left out is low times low.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from shared.aggregation.blocks import AggregationContext, FloatArray, delta_blocks, weighted_sum
from shared.parameters import Arrays, model_digest

_BITS = 17  # of either half
_MOST_COORDINATES = 2**18  # in one product: 17 + 17 + 18 bits fit float64's 53
_SMALLEST_EXPONENT = -900  # deltas smaller than 2^-900 count as 0: scaling them up would overflow


def gram_matrix(updates: Sequence[Arrays], context: AggregationContext) -> FloatArray:
    """Return the inner products of all deltas, over all arrays of floats: (clients, clients).

    A product too large for float64 is infinite.
    """
    gram = np.zeros((len(updates), len(updates)))
    with np.errstate(over="ignore", invalid="ignore"):  # a hostile 1e200 must not end the round
        for block in delta_blocks(updates, context, floats_only=True):
            for start in range(0, block.deltas.shape[1], _MOST_COORDINATES):
                gram += _exact_products(block.deltas[:, start : start + _MOST_COORDINATES])
    return gram


def squared_distances(gram: FloatArray) -> FloatArray:
    """Return all squared distances, from the inner products: (clients, clients). What is not a number is infinite."""
    squares = np.diagonal(gram)
    with np.errstate(over="ignore", invalid="ignore"):
        distances = np.maximum(squares[:, None] + squares[None, :] - 2 * gram, 0.0)
    np.fill_diagonal(distances, 0.0)
    return np.where(np.isnan(distances), np.inf, distances)


def distances_to(gram: FloatArray, factors: Sequence[float]) -> FloatArray:
    """Return each row's distance to the point ``sum of factors[i] * row i``: (rows,)."""
    products = weighted_sum(gram, factors)
    square = float(weighted_sum(products[:, None], factors)[0])
    distances: FloatArray = np.sqrt(np.maximum(np.diagonal(gram) - 2 * products + square, 0.0))
    return distances


def distinct(updates: Sequence[Arrays]) -> list[int]:
    """Return the places of updates that differ from all before them: two equal vectors vouch for each other."""
    seen: dict[bytes, int] = {}
    for index, update in enumerate(updates):
        seen.setdefault(hashlib.sha256(model_digest(update)).digest(), index)
    return list(seen.values())


def _exact_products(deltas: FloatArray) -> FloatArray:
    """Return the inner products of the rows of a block: (clients, coordinates) to (clients, clients)."""
    exponents = np.maximum(np.frexp(np.abs(deltas).max(axis=1, initial=0.0))[1], _SMALLEST_EXPONENT)
    scaled = deltas * np.ldexp(1.0, _BITS - exponents)[:, None]  # below 2^17; powers of two keep every bit
    high = np.rint(scaled)
    low = np.rint((scaled - high) * 2.0**_BITS)
    crossed = high @ low.T
    products = high @ high.T + (crossed + crossed.T) * 2.0**-_BITS
    scale = np.ldexp(1.0, exponents - _BITS)
    scaled_back: FloatArray = products * scale[:, None] * scale[None, :]
    return scaled_back
