"""What every rule is made of: its context and result, and the walk over all coordinates in blocks."""

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

ASSUMED_MALICIOUS_FRACTION = 0.2  # of the cohort, by rules that need a number, when num_malicious is 0
DEFAULT_BLOCK_BYTES = 4 * 1024 * 1024  # of deltas at once: fits a core's cache, and bounds memory for any cohort


@dataclass(frozen=True, slots=True, kw_only=True)
class AggregationContext:
    """What a rule may know besides the updates."""

    base: Arrays  # the global model the updates were computed from
    server_round: int  # from 1
    num_malicious: int = 0  # how many hostile updates to withstand; 0 is "not said"
    block_bytes: int = DEFAULT_BLOCK_BYTES  # of deltas handled at once, over all clients; at least one coordinate each
    trusted: Arrays | None = None  # the server's own update from its root data set: fltrust only

    def assumed_malicious(self, num_updates: int) -> int:
        """Return how many of ``num_updates`` to withstand: what was said, or a fifth."""
        return self.num_malicious or int(ASSUMED_MALICIOUS_FRACTION * num_updates)


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


def combined(updates: Sequence[Arrays], context: AggregationContext, factors: Sequence[float]) -> AggregationResult:
    """Make the model ``base + sum of factors[i] * deltas[i]``; all rules that only choose factors end here."""
    arrays = apply_blockwise(updates, context, lambda deltas: weighted_sum(deltas, factors))
    return AggregationResult(arrays=arrays, shares=tuple(factors))


def example_shares(num_examples: Sequence[float]) -> tuple[float, ...]:
    """Return each client's share of all examples."""
    total = float(sum(num_examples))
    return tuple(count / total for count in num_examples)
