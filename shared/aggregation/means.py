"""Weighted means: FedAvg's own, and one that lets nobody pull harder than the median client."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shared.aggregation.blocks import (
    AggregationContext,
    AggregationResult,
    AggregationState,
    combined,
    delta_norms,
    example_shares,
)
from shared.parameters import Arrays


def mean(
    updates: Sequence[Arrays], num_examples: Sequence[float], context: AggregationContext, state: AggregationState
) -> tuple[AggregationResult | None, AggregationState]:
    """The mean weighted by examples: McMahan et al., AISTATS 2017, algorithm 1. Withstands no attacker."""
    return combined(updates, context, example_shares(num_examples)), state


def norm_clipped_mean(
    updates: Sequence[Arrays], num_examples: Sequence[float], context: AggregationContext, state: AggregationState
) -> tuple[AggregationResult | None, AggregationState]:
    """The weighted mean of deltas shortened to the cohort's median norm.

    Norm thresholding of Sun et al., 2019 (arXiv:1911.07963), "Defenses", with the cohort's median norm as the threshold
    (the 0.5 quantile of Andrew et al., NeurIPS 2021), so that nothing has to be tuned: a client may point anywhere but
    pulls no harder than the median client. A delta of length 0 stays what it is.
    """
    norms = delta_norms(updates, context)
    bound = float(np.median(norms))
    clips = [bound / norm if norm > bound else 1.0 for norm in norms.tolist()]
    shares = [share * clip for share, clip in zip(example_shares(num_examples), clips, strict=True)]
    return combined(updates, context, shares), state
