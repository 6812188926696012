"""Rules that look for the middle of the updates as points: far ones pull with bounded force.

Both walk through points that are weighted sums of the updates, so all distances they need follow from one matrix of
inner products; the updates themselves are read twice, whatever the number of steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from shared.aggregation.blocks import (
    AggregationContext,
    AggregationResult,
    AggregationState,
    FloatArray,
    combined,
)
from shared.aggregation.distances import distances_to, gram_matrix
from shared.parameters import AnyArray, Arrays

_MOST_WEISZFELD_STEPS = 100
_WEISZFELD_TOLERANCE = 1e-10  # of each factor: the factor of who is 1e30 away is 1e-30, and must have come to rest too
_SMOOTHING = 1e-4  # x the median norm: nearer than that, distances are all the same
_CLIPPING_STEPS = 3
_CENTER = "center/"


def geometric_median(
    updates: Sequence[Arrays], num_examples: Sequence[float], context: AggregationContext, state: AggregationState
) -> tuple[AggregationResult | None, AggregationState]:
    """The point with the least sum of distances to the updates: RFA, Pillutla et al., IEEE TSP 2022, algorithm 2.

    Smoothed Weiszfeld steps until they stand still; each client counts once, whatever examples it claims. Withstands
    fewer than half of the clients.
    """
    del num_examples
    gram, counts = _reachable(gram_matrix(updates, context))
    smoothing = _SMOOTHING * float(np.median(np.sqrt(np.diagonal(gram)))) or 1.0
    factors = counts / max(_total(counts), 1.0)
    for _ in range(_MOST_WEISZFELD_STEPS):
        pulls = counts / np.maximum(distances_to(gram, factors.tolist()), smoothing)
        stepped = pulls / max(_total(pulls), np.finfo(np.float64).tiny)
        is_still = bool((np.abs(stepped - factors) <= _WEISZFELD_TOLERANCE * stepped).all())
        factors = stepped
        if is_still:
            break
    return combined(updates, context, factors.tolist()), state


def centered_clipping(
    updates: Sequence[Arrays], num_examples: Sequence[float], context: AggregationContext, state: AggregationState
) -> tuple[AggregationResult | None, AggregationState]:
    """Each update pulls the last round's change toward itself, no further than the median one.

    Karimireddy et al., ICML 2021, algorithm 1 (CClip), started from the aggregate of the round before, which is the
    momentum. The clipping radius, which the paper leaves to be tuned, is the median distance to the center.
    """
    del num_examples
    num_clients = len(updates)
    center = {name: base + _remembered(state, name, base) for name, base in context.base.items()}
    gram, counts = _reachable(gram_matrix([*updates, center], context))
    factors = np.zeros(num_clients + 1)
    factors[-1] = 1.0
    for _ in range(_CLIPPING_STEPS):
        distances = distances_to(gram, factors.tolist())[:num_clients]
        radius = float(np.median(distances[counts[:-1] > 0])) if counts[:-1].any() else 0.0
        clips = counts[:-1] * np.minimum(1.0, radius / np.maximum(distances, np.finfo(np.float64).tiny))
        factors *= 1 - _total(clips) / num_clients
        factors[:num_clients] += clips / num_clients
    result = combined([*updates, center], context, factors.tolist())
    memory = {
        _CENTER + name: np.asarray(result.arrays[name], np.float64) - base
        for name, base in context.base.items()
        if np.issubdtype(base.dtype, np.floating)
    }
    return AggregationResult(arrays=result.arrays, shares=result.shares[:num_clients]), memory


def _remembered(state: Mapping[str, AnyArray], name: str, base: AnyArray) -> AnyArray:
    """Return the last change of one array; none before the first round, or when the model has become another."""
    kept = state.get(_CENTER + name)
    return kept if kept is not None and kept.shape == base.shape else np.zeros(base.shape, np.float64)


def _total(values: FloatArray) -> float:
    return float(sum(values.tolist()))  # in the order of the clients: the same bits everywhere


def _reachable(gram: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Take out the rows that are too far for float64: (inner products without them, 1 for each row that counts)."""
    counts = np.isfinite(np.diagonal(gram)).astype(np.float64)
    return np.where(np.isfinite(gram), gram, 0.0) * counts[:, None] * counts[None, :], counts
