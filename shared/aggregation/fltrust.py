"""FLTrust: updates count as much as they agree with one that the server made itself."""

from __future__ import annotations

import math
from collections.abc import Sequence

from shared.aggregation.blocks import AggregationContext, AggregationResult, AggregationState, combined
from shared.aggregation.distances import gram_matrix
from shared.parameters import Arrays


def fltrust(
    updates: Sequence[Arrays], num_examples: Sequence[float], context: AggregationContext, state: AggregationState
) -> tuple[AggregationResult | None, AggregationState]:
    """The mean of the updates at the trusted update's length, weighted by their cosine to it where that is positive.

    Cao et al., NDSS 2021, equations 2 to 4. ``context.trusted`` is the model that the server trained on its root data
    set from the same base. No result where no update agrees with it, or where it did not move: the old model stays.
    """
    del num_examples
    if context.trusted is None:
        return None, state
    gram = gram_matrix([*updates, context.trusted], context)
    norms = [math.sqrt(gram[i, i]) for i in range(len(gram))]
    trusted_norm = norms.pop()
    scores = [
        max(float(gram[i, -1]) / (norm * trusted_norm), 0.0) if 0 < norm * trusted_norm < math.inf else 0.0
        for i, norm in enumerate(norms)
    ]
    total = sum(scores)
    if total == 0:
        return None, state
    factors = [score / total * trusted_norm / norm if score else 0.0 for score, norm in zip(scores, norms, strict=True)]
    return combined(updates, context, factors), state
