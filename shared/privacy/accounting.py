"""How much privacy a history has cost, by Opacus's accountants: PRV where it can be computed, RDP as its upper bound.

RDP: Mironov et al., arXiv 1908.10530, converted by Balle et al., AISTATS 2020, theorem 21. PRV: Gopi et al., NeurIPS
2021. Both bound epsilon from above, so the smaller one counts.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.errors import ConfigError
from shared.privacy.history import History, Segment, extend, resolve_delta, sampling_of

PRV, RDP = "prv", "rdp"
# Above this epsilon no accountant's digits matter, and PRV's grid, whose range is epsilon, would fill the memory.
MAX_PRV_EPSILON = 50.0
MEANINGFUL_EPSILON = 10.0
_EPSILON_ERROR = 0.01  # Opacus's default: PRV's answer is the upper end of an interval this wide
_DELTA_ERROR = 1e-3  # of delta, likewise
# Any set of orders gives an upper bound. Whole ones cost microseconds, fractions many milliseconds each.
_QUICK_ORDERS = (*range(2, 65), 80, 96, 128, 256)
_LEAST_CAPACITY = 256  # steps a discretised loss is fine enough for: one serves the rounds of a short run
_MAX_CURVE_POINTS, _FEW_CURVE_POINTS = 100, 20
_MANY_STEPS = 5000  # from here on a point takes a tenth of a second and more


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What a history has cost at some delta."""

    epsilon: float
    accountant: str  # "prv" or "rdp"


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivacyEstimate:
    """What a training would cost one client that takes part in every round."""

    epsilon: float
    delta: float
    noise_multiplier: float
    accountant: str
    steps: int
    sample_rate: float
    by_round: tuple[tuple[int, float], ...]  # (round, epsilon after it), at most 100, the last round always
    warning: str  # where the number means little, else ""


def preload() -> None:
    """Import Opacus now, in a process that others are forked from: each of them would take seconds for it."""
    importlib.import_module("opacus.accountants")


def spent(history: History, delta: float) -> Spent:
    """Account for a whole history; nothing costs nothing."""
    if not history:
        return Spent(epsilon=0.0, accountant=PRV)
    quick = quick_rdp_epsilon(history, delta)
    if quick > MAX_PRV_EPSILON:
        return Spent(epsilon=rdp_epsilon(history, delta), accountant=RDP)
    prv = prv_epsilon(history, delta)
    if prv <= quick:
        return Spent(epsilon=prv, accountant=PRV)
    return Spent(epsilon=min(quick, rdp_epsilon(history, delta)), accountant=RDP)


def is_within(history: History, budget: float, delta: float) -> bool:
    """Tell whether a history keeps to a budget: RDP may say yes at once, where it says no PRV decides."""
    return not history or quick_rdp_epsilon(history, delta) <= budget or spent(history, delta).epsilon <= budget


@functools.lru_cache(maxsize=1024)
def rdp_epsilon(history: History, delta: float) -> float:
    """Return Opacus's RDP accountant's epsilon."""
    from opacus.accountants import RDPAccountant

    accountant = RDPAccountant()
    accountant.history = [(part.noise_multiplier, part.sample_rate, part.steps) for part in history]
    with _quiet_opacus():
        return max(float(accountant.get_epsilon(delta)), 0.0)


def quick_rdp_epsilon(history: History, delta: float) -> float:
    """Return an upper bound of ``rdp_epsilon`` that takes microseconds once a step of this kind is known."""
    from opacus.accountants.analysis.rdp import get_privacy_spent

    if not history:
        return 0.0
    rdp = sum(part.steps * _rdp_of_step(part.noise_multiplier, part.sample_rate) for part in history)
    with _quiet_opacus():
        epsilon, _ = get_privacy_spent(orders=_QUICK_ORDERS, rdp=rdp, delta=delta)
    return max(float(epsilon), 0.0)


@functools.lru_cache(maxsize=1024)
def _rdp_of_step(noise_multiplier: float, sample_rate: float) -> NDArray[np.float64]:
    from opacus.accountants.analysis.rdp import compute_rdp

    rdp: NDArray[np.float64] = compute_rdp(
        q=sample_rate, noise_multiplier=noise_multiplier, steps=1, orders=_QUICK_ORDERS
    )
    return rdp


@functools.lru_cache(maxsize=4096)
def prv_epsilon(history: History, delta: float) -> float:
    """Return the PRV accountant's epsilon, its upper bound; infinite where it cannot be computed.

    What costs is to discretise a step, and that is kept, finely enough for the next power of two of each part's steps:
    a round later the same parts are only composed anew.
    """
    from opacus.accountants.analysis.prv import compose_heterogeneous

    try:
        with _quiet_opacus():
            losses = _discretised(_capacity(history, delta), delta)
            whole = compose_heterogeneous(dprvs=list(losses), num_self_compositions=[part.steps for part in history])
            return _upper_end(whole, delta)
    except (ValueError, RuntimeError, FloatingPointError):  # its arithmetic does not reach this delta: RDP stands
        return math.inf


def _capacity(history: History, delta: float) -> History:
    """Round up the steps, so that rounds to come find what is kept; not so far that the grid's range explodes."""
    powers = [1 << (part.steps - 1).bit_length() for part in history]
    ample = tuple(replace(part, steps=max(power, _LEAST_CAPACITY)) for part, power in zip(history, powers, strict=True))
    if quick_rdp_epsilon(ample, delta) <= MAX_PRV_EPSILON:
        return ample
    return tuple(replace(part, steps=power) for part, power in zip(history, powers, strict=True))


@functools.lru_cache(maxsize=16)  # about 2 MB a part
def _discretised(history: History, delta: float) -> tuple[Any, ...]:
    """Discretise each part's privacy loss on one grid, as Opacus's PRV accountant does (Gopi et al., theorem 5.5).

    The grid's range comes from RDP at a few orders: an upper bound, so the range is safe, at a tenth of the time.
    """
    from opacus.accountants.analysis.prv import (
        Domain,
        PoissonSubsampledGaussianPRV,
        TruncatedPrivacyRandomVariable,
        discretize,
    )

    delta_error = delta * _DELTA_ERROR
    total = sum(part.steps for part in history)
    reach = [quick_rdp_epsilon(history, delta_error / 4)]
    reach += [quick_rdp_epsilon((replace(part, steps=1),), delta_error / (8 * total)) for part in history]
    half_range = max(*reach, _EPSILON_ERROR) + 3
    mesh = _EPSILON_ERROR / math.sqrt(total * math.log(12 / delta_error) / 2)
    domain = Domain.create_aligned(-half_range, half_range, mesh)
    steps = [PoissonSubsampledGaussianPRV(part.sample_rate, part.noise_multiplier) for part in history]
    return tuple(discretize(TruncatedPrivacyRandomVariable(step, domain.t_min, domain.t_max), domain) for step in steps)


def _upper_end(loss: Any, delta: float) -> float:
    _, _, upper = loss.compute_epsilon(delta, delta * _DELTA_ERROR, _EPSILON_ERROR)
    epsilon = float(upper)
    return max(epsilon, 0.0) if math.isfinite(epsilon) else math.inf


@contextlib.contextmanager
def _quiet_opacus() -> Iterator[None]:
    """Silence two warnings of Opacus's accountants that say nothing about the answer.

    "Optimal order is the largest alpha" means that the bound could be tighter; the divisions by zero are log(1 - q) at
    q = 1, whose minus infinity is what the formula wants.
    """
    with warnings.catch_warnings(), np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        warnings.filterwarnings("ignore", message="Optimal order is the")
        yield


def estimate_privacy(
    *,
    num_examples: int,
    batch_size: int,
    local_epochs: int,
    num_rounds: int,
    noise_multiplier: float = 0.0,
    target_epsilon: float = 0.0,
    delta: float = 0.0,
    local_steps: int = 0,
) -> PrivacyEstimate:
    """Estimate what a training costs a client that takes part in every round, from noise to epsilon or back.

    Args:
        num_examples: The client's own training examples.
        batch_size: Expected examples a step.
        local_epochs: Epochs a round.
        num_rounds: Rounds in all.
        noise_multiplier: Noise, where it is given.
        target_epsilon: What all rounds together may cost, where that is given instead.
        delta: 0 is min(1e-5, 1/(10 n)).
        local_steps: When positive, steps a round instead of epochs.

    Raises:
        ConfigError: A value is out of range, or not exactly one of noise and target is given.
    """
    whole = {"num-examples": num_examples, "batch-size": batch_size, "local-epochs": local_epochs}
    for key, value in (whole | {"num-rounds": num_rounds}).items():
        if value < 1:
            raise ConfigError(f"{key} must be at least 1, got {value}")
    for key, number in {"noise-multiplier": noise_multiplier, "target-epsilon": target_epsilon}.items():
        if not 0 <= number < math.inf:
            raise ConfigError(f"{key} must be at least 0, got {number}")
    if not 0 <= delta < 1:
        raise ConfigError(f"delta must be at least 0 and below 1, got {delta}")
    if (noise_multiplier > 0) == (target_epsilon > 0):
        raise ConfigError("noise-multiplier or target-epsilon must be above 0, and not both: the one gives the other")
    sampling = sampling_of(
        num_examples=num_examples, batch_size=batch_size, local_epochs=local_epochs, local_steps=local_steps
    )
    resolved_delta = resolve_delta(delta, num_examples)
    total = num_rounds * sampling.steps
    sigma = noise_multiplier
    if target_epsilon:
        from shared.privacy.calibration import calibrate

        sigma = calibrate(
            target_epsilon, delta=resolved_delta, sample_rate=sampling.sample_rate, steps=total, history=()
        )
    by_round: list[tuple[int, float]] = []
    for server_round in _thinned(num_rounds, _MAX_CURVE_POINTS if total < _MANY_STEPS else _FEW_CURVE_POINTS):
        part = Segment(noise_multiplier=sigma, sample_rate=sampling.sample_rate, steps=server_round * sampling.steps)
        result = spent(extend((), part), resolved_delta)
        by_round.append((server_round, result.epsilon))
    return PrivacyEstimate(
        epsilon=result.epsilon,
        delta=resolved_delta,
        noise_multiplier=sigma,
        accountant=result.accountant,
        steps=total,
        sample_rate=sampling.sample_rate,
        by_round=tuple(by_round),
        warning=warning_of(result.epsilon, resolved_delta, num_examples, sampling.sample_rate),
    )


def warning_of(epsilon: float, delta: float, num_examples: int, sample_rate: float) -> str:
    """Say in a sentence where a guarantee means little; "" where it does not."""
    if delta >= 1 / num_examples:
        return f"delta {delta:g} is not below 1/n ({1 / num_examples:.3g}): one example in n may be published whole"
    if epsilon > MEANINGFUL_EPSILON:
        return f"epsilon {epsilon:.3g} is above {MEANINGFUL_EPSILON:g}: it promises little; more noise, or fewer rounds"
    if sample_rate == 1:
        return f"every step sees all {num_examples} examples: sampling adds no privacy; a smaller batch size would"
    return ""


def _thinned(num_rounds: int, num_points: int) -> list[int]:
    if num_rounds <= num_points:
        return list(range(1, num_rounds + 1))
    return sorted({round(index * num_rounds / num_points) for index in range(1, num_points + 1)})
