"""Scales of plots: round tick values, and where a value lies between them."""

from __future__ import annotations

import math
from dataclasses import dataclass

_ALL_TICKS = 10  # so many labels of a whole number fit side by side on a phone
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """A range of values with its ticks."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def share(self, value: float) -> float:
        """Return where ``value`` lies from 0 (low) to 1 (high); what lies outside is put on the edge."""
        return min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))


def nice_scale(low: float, high: float, *, num_ticks: int = 5, is_whole: bool = False) -> Scale:
    """Widen [low, high] to round ticks, about ``num_ticks`` of them, by steps of 1, 2, 2.5 or 5 x 10^k.

    ``is_whole`` keeps the steps whole numbers: there is no half client.
    """
    if high <= low:
        room = abs(low) * 0.1 or 1.0
        low, high = low - room, high + room
    rough = (high - low) / max(1, num_ticks - 1)
    if is_whole:
        rough = max(1.0, rough)
    power = 10.0 ** math.floor(math.log10(rough))
    steps = (factor * power for factor in _STEPS)
    step = next(s for s in steps if s >= rough * (1 - 1e-9) and (not is_whole or s == int(s)))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(number * step for number in range(first, last + 1))
    return Scale(low=ticks[0], high=ticks[-1], ticks=ticks)


def round_ticks(first: int, last: int, *, num_ticks: int = 6) -> tuple[int, ...]:
    """Return whole-number ticks: all if they are few, else both ends and round numbers between them."""
    if last - first < _ALL_TICKS:
        return tuple(range(first, last + 1))
    rough = (last - first) / num_ticks
    power = 10 ** math.floor(math.log10(rough))
    step = next(int(factor * power) for factor in (1, 2, 5, 10) if factor * power >= rough)
    inner = [tick for tick in range(0, last + 1, step) if first + step / 2 <= tick < last - step / 2]
    return (first, *inner, last)
