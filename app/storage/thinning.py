"""Draws a long line with few points: the first, the last, and the extremes of each stretch between them stay.

What a chart shows is then what happened: a spike of one round is not averaged away.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def thin(items: Sequence[T], values: Sequence[float | None], max_points: int) -> list[T]:
    """Return at most ``max_points`` of the items, in order; ``values`` says which are extreme.

    Args:
        items: What is thinned.
        values: One for each item; None is never an extreme.
        max_points: At least 2.
    """
    return [items[index] for index in kept_indices(values, max_points)]


def kept_indices(values: Sequence[float | None], max_points: int) -> list[int]:
    """Return which places stay, ascending."""
    count = len(values)
    if count <= max_points:
        return list(range(count))
    if max_points < 4:  # no room for a stretch's two extremes
        return [0, count - 1][: max(1, max_points)]
    stretches = (max_points - 2) // 2
    kept = {0, count - 1}
    for stretch in range(stretches):
        low = 1 + stretch * (count - 2) // stretches
        high = 1 + (stretch + 1) * (count - 2) // stretches
        kept |= _extremes(values, low, high)
    return sorted(kept)


def _extremes(values: Sequence[float | None], low: int, high: int) -> set[int]:
    known = [(value, index) for index in range(low, high) if (value := values[index]) is not None]
    if not known:
        return {low} if low < high else set()
    return {min(known)[1], max(known)[1]}
