"""How much noise keeps a training within its budget: the smallest sigma whose epsilon, all steps composed, fits.

Opacus's ``get_noise_multiplier`` stops within 0.01 of the target; here what is left must be less than a small part of
one round's cost, so that a run calibrated for R rounds has nothing left for round R + 1.
"""

from __future__ import annotations

import functools
import math

from shared.errors import ConfigError
from shared.privacy.accounting import is_within, quick_rdp_epsilon, spent
from shared.privacy.history import History, Segment, extend

MIN_NOISE, MAX_NOISE = 0.1, 1e3  # sigma; more noise than that leaves no signal in any model
_TOLERANCE = 2e-5  # of epsilon
_MAX_EVALUATIONS = 60


@functools.lru_cache(maxsize=256)
def calibrate(target_epsilon: float, *, delta: float, sample_rate: float, steps: int, history: History) -> float:
    """Return the smallest noise multiplier with which ``steps`` more steps keep to a budget.

    Args:
        target_epsilon: What everything together may cost, what was spent before included.
        delta: Of the guarantee.
        sample_rate: q of the steps to come.
        steps: How many are to come.
        history: What was spent before.

    Raises:
        ConfigError: No amount of noise keeps to the budget.
    """

    def excess(sigma: float) -> float:
        planned = extend(history, Segment(noise_multiplier=sigma, sample_rate=sample_rate, steps=steps))
        return math.log(max(spent(planned, delta).epsilon, 1e-9) / target_epsilon)

    low, high = _bracket(target_epsilon, delta, sample_rate, steps, history)
    if low == high:
        return high
    at_low, at_high = excess(low), excess(high)
    # Illinois (Dowell and Jarratt, BIT 1971) on log sigma, where log epsilon is nearly a line: few evaluations.
    side = 0
    for _ in range(_MAX_EVALUATIONS):
        if at_high > -_TOLERANCE or high - low < 1e-9 * high:
            break
        weight = at_high / (at_high - at_low) if at_low > at_high else 0.5
        # A little towards safety: landing just below the target ends the search, just above does not.
        sigma = math.exp(math.log(high) + weight * (math.log(low) - math.log(high)) + _TOLERANCE / 4)
        sigma = sigma if low < sigma < high else math.sqrt(low * high)
        value = excess(sigma)
        if value > 0:
            low, at_low = sigma, value
            at_high = at_high / 2 if side == 1 else at_high
            side = 1
        else:
            high, at_high = sigma, value
            at_low = at_low / 2 if side == -1 else at_low
            side = -1
    return high


def _bracket(
    target_epsilon: float, delta: float, sample_rate: float, steps: int, history: History
) -> tuple[float, float]:
    """Find noise that is too little and noise that is enough, close together; equal where the least is enough.

    RDP, which takes milliseconds, says what is enough; PRV wants 5 to 7% less.
    """

    def planned(sigma: float) -> History:
        return extend(history, Segment(noise_multiplier=sigma, sample_rate=sample_rate, steps=steps))

    too_little, enough = MIN_NOISE, MAX_NOISE
    if not is_within(planned(enough), target_epsilon, delta):
        raise ConfigError(
            f"target-epsilon {target_epsilon:g} at delta {delta:g} cannot be kept by any noise over {steps} steps: "
            "what is left of the budget is too little; use fewer rounds, or end the use of this data"
        )
    while enough > too_little * 1.02:
        middle = math.sqrt(too_little * enough)
        if quick_rdp_epsilon(planned(middle), delta) <= target_epsilon:
            enough = middle
        else:
            too_little = middle
    low = enough
    while spent(planned(low), delta).epsilon <= target_epsilon:
        if low < MIN_NOISE:
            return low, low
        enough, low = low, low * 0.92
    return low, enough
