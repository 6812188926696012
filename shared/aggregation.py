"""How updates become one model: pure rules that the server and the mesh share.

A rule is a function ``(updates, num_examples, context, state) -> (result, state)``. ``updates`` are the clients' full
models in a fixed order (by client), ``context.base`` is the model they all started from. Rules compute on the *deltas*
``update - base`` in float64, a block of coordinates at a time, so that memory does not grow with the model, and with
elementwise operations in a fixed order, so that every machine computes the same bits.

To add a rule: write the function, cite the paper, give it a line in ``AGGREGATIONS``. A rule that remembers something
between rounds (a momentum) returns it as named arrays; they are handed back the next time and stored in checkpoints.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from shared.parameters import AnyArray, Arrays

FloatArray = NDArray[np.float64]

# Named arrays a rule keeps between rounds; empty before the first.
AggregationState = Mapping[str, AnyArray]
NO_STATE: AggregationState = types.MappingProxyType({})

TRIM_FRACTION = 0.2  # of each tail, by trimmed-mean when num_malicious is 0
DEFAULT_BLOCK_BYTES = 4 * 1024 * 1024  # of deltas at once: fits a core's cache, and bounds memory for any cohort


@dataclass(frozen=True, slots=True, kw_only=True)
class AggregationContext:
    """What a rule may know besides the updates."""

    base: Arrays  # the global model the updates were computed from
    server_round: int  # from 1
    num_malicious: int = 0  # how many hostile updates to withstand; 0 is "not said"
    block_bytes: int = DEFAULT_BLOCK_BYTES  # of deltas handled at once, over all clients; at least one coordinate each


@dataclass(frozen=True, slots=True, kw_only=True)
class AggregationResult:
    """The new model, and how much each update had a part in it."""

    arrays: Mapping[str, AnyArray]  # names, shapes and dtypes of ``base``
    # One a client, in the order of the updates: the factor its delta got. Empty where a rule has no such factor because
    # it picks values coordinate by coordinate.
    shares: tuple[float, ...] = field(default=())


# None instead of a result: too few updates for what the rule promises; the old model stays.
AggregationRule = Callable[
    [Sequence[Arrays], Sequence[float], AggregationContext, AggregationState],
    tuple[AggregationResult | None, AggregationState],
]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaBlock:
    """A block of coordinates of one array, for all clients."""

    name: str
    start: int  # of the block in the flattened array
    base: FloatArray  # (coordinates,)
    deltas: FloatArray  # (clients, coordinates)


def delta_blocks(
    updates: Sequence[Arrays], context: AggregationContext, *, floats_only: bool = False
) -> Iterator[DeltaBlock]:
    """Go through all coordinates; a block is only valid until the next one is asked for.

    Args:
        updates: At least one; names and shapes of ``context.base``.
        context: Names the base and the bytes of a block.
        floats_only: Leave out arrays of whole numbers (counters), whose size says nothing about the update's.
    """
    block_size = max(context.block_bytes // (8 * len(updates)), 1)  # coordinates of float64
    for name, base in context.base.items():
        if floats_only and not np.issubdtype(base.dtype, np.floating):
            continue
        flat_base = np.asarray(base).reshape(-1)
        flat_updates = [np.asarray(update[name]).reshape(-1) for update in updates]
        for start in range(0, flat_base.size, block_size):
            part = slice(start, start + block_size)
            block_base = flat_base[part].astype(np.float64)
            deltas = np.empty((len(updates), block_base.size))
            for row, flat in zip(deltas, flat_updates, strict=True):
                np.subtract(flat[part], block_base, out=row)
            yield DeltaBlock(name=name, start=start, base=block_base, deltas=deltas)


def delta_norms(updates: Sequence[Arrays], context: AggregationContext) -> FloatArray:
    """Return the L2 norm of each client's delta over all arrays of floats: (clients,)."""
    squares = np.zeros(len(updates))
    for block in delta_blocks(updates, context, floats_only=True):
        squares += np.square(block.deltas).sum(axis=1)
    norms: FloatArray = np.sqrt(squares)
    return norms


def apply_blockwise(
    updates: Sequence[Arrays], context: AggregationContext, combine: Callable[[FloatArray], FloatArray]
) -> dict[str, AnyArray]:
    """Make the model ``base + combine(deltas)``, in the dtypes of the base; whole numbers are rounded.

    Args:
        updates: The clients' models.
        context: Names the base and the bytes of a block.
        combine: From (clients, coordinates) to (coordinates,).
    """
    model = {name: np.empty(base.size, base.dtype) for name, base in context.base.items()}
    for block in delta_blocks(updates, context):
        values = block.base + combine(block.deltas)
        target = model[block.name]
        if not np.issubdtype(target.dtype, np.floating):
            values = np.rint(values)
        target[block.start : block.start + values.size] = values
    return {name: flat.reshape(context.base[name].shape) for name, flat in model.items()}


def weighted_sum(deltas: FloatArray, factors: Sequence[float]) -> FloatArray:
    """Add up ``factors[i] * deltas[i]`` in the order of the clients: (coordinates,)."""
    total = np.zeros(deltas.shape[1])
    scratch = np.empty(deltas.shape[1])
    for row, factor in zip(deltas, factors, strict=True):
        np.multiply(row, factor, out=scratch)
        total += scratch
    return total


def mean(
    updates: Sequence[Arrays], num_examples: Sequence[float], context: AggregationContext, state: AggregationState
) -> tuple[AggregationResult | None, AggregationState]:
    """The mean weighted by examples: McMahan et al., AISTATS 2017, algorithm 1. Withstands no attacker."""
    shares = _shares(num_examples)
    arrays = apply_blockwise(updates, context, lambda deltas: weighted_sum(deltas, shares))
    return AggregationResult(arrays=arrays, shares=shares), state


def coordinate_median(
    updates: Sequence[Arrays], num_examples: Sequence[float], context: AggregationContext, state: AggregationState
) -> tuple[AggregationResult | None, AggregationState]:
    """The median of each coordinate, each client counting once: Yin et al., ICML 2018, definition 1.

    Withstands fewer than half of the clients; with an even number it is the mean of the middle two.
    """
    del num_examples  # a hostile client would choose its own

    def combine(deltas: FloatArray) -> FloatArray:
        ordered = np.sort(deltas, axis=0)  # four times as fast as np.median
        middle: FloatArray = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
        return middle

    return AggregationResult(arrays=apply_blockwise(updates, context, combine)), state


def trimmed_mean(
    updates: Sequence[Arrays], num_examples: Sequence[float], context: AggregationContext, state: AggregationState
) -> tuple[AggregationResult | None, AggregationState]:
    """The mean of each coordinate without its extremes: Yin et al., ICML 2018, definition 2.

    As many values are cut at each end as clients may be malicious, or a fifth where that is not said, each remaining
    client counting once. Where too few replied for that, the most that leaves something is cut: the median.
    """
    del num_examples
    num_clients = len(updates)
    wanted = context.num_malicious or int(TRIM_FRACTION * num_clients)
    cut = min(wanted, (num_clients - 1) // 2)

    def combine(deltas: FloatArray) -> FloatArray:
        kept = np.sort(deltas, axis=0)[cut : num_clients - cut]
        middle: FloatArray = kept.sum(axis=0) / len(kept)
        return middle

    return AggregationResult(arrays=apply_blockwise(updates, context, combine)), state


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
    shares = tuple(share * clip for share, clip in zip(_shares(num_examples), clips, strict=True))
    arrays = apply_blockwise(updates, context, lambda deltas: weighted_sum(deltas, shares))
    return AggregationResult(arrays=arrays, shares=shares), state


def _shares(num_examples: Sequence[float]) -> tuple[float, ...]:
    total = float(sum(num_examples))
    return tuple(count / total for count in num_examples)


AGGREGATIONS: Mapping[str, AggregationRule] = types.MappingProxyType(
    {
        "mean": mean,
        "median": coordinate_median,
        "trimmed-mean": trimmed_mean,
        "norm-clip": norm_clipped_mean,
    }
)
