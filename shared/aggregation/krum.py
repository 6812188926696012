"""Krum, Multi-Krum and Bulyan: trust the updates that stand in the thick of the others.

Equal updates count once: for Krum two identical vectors are each other's nearest neighbour, and win (n = 5, f = 2). A
copy is always a hostile client's, of a partner's update or of a stolen one, so each copy that is left out is one
hostile client fewer among the rest: colluders that all send the same cannot stop the round by thinning the cohort.
Where fewer distinct updates are left than the rule's promise needs, there is no result, and the old model stays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from shared.aggregation.blocks import (
    AggregationContext,
    AggregationResult,
    AggregationState,
    FloatArray,
    apply_blockwise,
    combined,
)
from shared.aggregation.coordinates import mean_around_median
from shared.aggregation.distances import distinct, gram_matrix, squared_distances
from shared.parameters import Arrays

_Needs = Callable[[int], int]


def krum_needs(num_malicious: int) -> int:
    """Return how many distinct updates Krum needs: 2 f + 3 (Blanchard et al., NeurIPS 2017, proposition 1)."""
    return 2 * num_malicious + 3


def bulyan_needs(num_malicious: int) -> int:
    """Return how many distinct updates Bulyan needs: 4 f + 3 (El Mhamdi et al., ICML 2018, section 4)."""
    return 4 * num_malicious + 3


def krum(
    updates: Sequence[Arrays], num_examples: Sequence[float], context: AggregationContext, state: AggregationState
) -> tuple[AggregationResult | None, AggregationState]:
    """The one update with the lowest score: Blanchard et al., NeurIPS 2017, section 4.

    A score is the sum of the squared distances to the n - f - 2 nearest others; of equal scores the first wins.
    """
    del num_examples
    kept = distinct(updates)
    hostile = _malicious(context, len(updates), len(kept), krum_needs)
    if hostile is None:
        return None, state
    distances = squared_distances(gram_matrix([updates[index] for index in kept], context))
    winner = kept[_best_first(distances, hostile)[0]]
    return combined(updates, context, [float(index == winner) for index in range(len(updates))]), state


def multikrum(
    updates: Sequence[Arrays], num_examples: Sequence[float], context: AggregationContext, state: AggregationState
) -> tuple[AggregationResult | None, AggregationState]:
    """The mean of the n - f - 2 updates with the lowest scores, each counting once.

    Blanchard et al., NeurIPS 2017, section 4; m = n - f - 2 is the most that Damaskinos et al., MLSys 2019
    (AggregaThor), prove resilient.
    """
    del num_examples
    kept = distinct(updates)
    hostile = _malicious(context, len(updates), len(kept), krum_needs)
    if hostile is None:
        return None, state
    distances = squared_distances(gram_matrix([updates[index] for index in kept], context))
    num_chosen = len(kept) - hostile - 2
    chosen = {kept[place] for place in _best_first(distances, hostile)[:num_chosen]}
    return combined(updates, context, [(i in chosen) / num_chosen for i in range(len(updates))]), state


def bulyan(
    updates: Sequence[Arrays], num_examples: Sequence[float], context: AggregationContext, state: AggregationState
) -> tuple[AggregationResult | None, AggregationState]:
    """Krum's choice, then the mean around the median: El Mhamdi et al., ICML 2018, section 4.

    Krum chooses n - 2 f updates, one after the other, each time among those that are left; of their values the
    n - 4 f nearest to the median are averaged, coordinate by coordinate.
    """
    del num_examples
    kept = distinct(updates)
    hostile = _malicious(context, len(updates), len(kept), bulyan_needs)
    if hostile is None:
        return None, state
    distances = squared_distances(gram_matrix([updates[index] for index in kept], context))
    chosen = [updates[kept[place]] for place in sorted(_krum_repeatedly(distances, hostile))]
    num_kept = len(chosen) - 2 * hostile
    arrays = apply_blockwise(chosen, context, lambda deltas: mean_around_median(deltas, num_kept))
    return AggregationResult(arrays=arrays), state


def krum_scores(distances: FloatArray, num_malicious: int) -> FloatArray:
    """Return each update's score: the sum of its squared distances to the n - f - 2 nearest others, at least one."""
    return _sum_of_nearest(distances, max(len(distances) - num_malicious - 2, 1))


def _sum_of_nearest(distances: FloatArray, num_near: int) -> FloatArray:
    """Add up each row's ``num_near`` smallest distances to others, in a fixed order: the same bits everywhere."""
    others = distances.copy()
    np.fill_diagonal(others, np.inf)  # an update is not its own neighbour
    totals = np.zeros(len(distances))
    for column in np.sort(others, axis=1)[:, : min(num_near, len(distances) - 1)].T:
        totals += column
    return totals


def _best_first(distances: FloatArray, num_malicious: int) -> list[int]:
    """Order updates by their scores; where two are each other's nearest and only one counts, by all distances."""
    totals = _sum_of_nearest(distances, len(distances))
    order: list[int] = np.lexsort((totals, krum_scores(distances, num_malicious))).tolist()
    return order


def _krum_repeatedly(distances: FloatArray, num_malicious: int) -> list[int]:
    """Choose n - 2 f updates by Krum, one at a time."""
    left = list(range(len(distances)))
    chosen: list[int] = []
    while len(chosen) < len(distances) - 2 * num_malicious:
        chosen.append(left.pop(_best_first(distances[np.ix_(left, left)], num_malicious)[0]))
    return chosen


def _malicious(context: AggregationContext, num_updates: int, num_distinct: int, needs: _Needs) -> int | None:
    """Return how many of the distinct updates may be hostile; None where there are too few for as many.

    Copies are taken off what was said. Where nothing was said it is the most, up to a fifth, that the rule can bear.
    """
    hostile = max(context.assumed_malicious(num_updates) - (num_updates - num_distinct), 0)
    while not context.num_malicious and hostile > 0 and num_distinct < needs(hostile):
        hostile -= 1
    return hostile if num_distinct >= needs(hostile) else None
