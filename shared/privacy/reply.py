"""How a client says, in the metrics of its train reply, what its data's life has cost so far."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from shared.privacy.accounting import PRV, RDP

_EPSILON, _DELTA, _NOISE, _RATE, _STEPS, _IS_RDP = (
    "epsilon",
    "delta",
    "noise-multiplier",
    "sample-rate",
    "dp-steps",
    "accountant-is-rdp",
)
_MAX_STEPS = 2**53  # beyond it a float is no count, and what stores it no integer
PRIVACY_METRICS = frozenset({_EPSILON, _DELTA, _NOISE, _RATE, _STEPS, _IS_RDP})

# A reply without arrays: a config record of this name says why the client does not train.
REFUSAL_RECORD = "refusal"
REFUSAL_REASON, REFUSAL_DETAIL = "reason", "detail"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientPrivacy:
    """What one client's accountant says: of everything ever done with this data, this round included."""

    epsilon: float
    delta: float
    accountant: str  # "prv", "rdp"
    noise_multiplier: float  # of this round
    sample_rate: float  # of this round
    steps: int  # in all

    def to_metrics(self) -> dict[str, int | float]:
        """Return it as numbers by name."""
        return {
            _EPSILON: self.epsilon,
            _DELTA: self.delta,
            _NOISE: self.noise_multiplier,
            _RATE: self.sample_rate,
            _STEPS: self.steps,
            _IS_RDP: int(self.accountant == RDP),
        }


def privacy_in(metrics: Mapping[str, float]) -> ClientPrivacy | None:
    """Read it from a client's metrics; None where it is not there whole or makes no sense."""
    if not metrics.keys() >= PRIVACY_METRICS or not 1 <= metrics[_STEPS] <= _MAX_STEPS:
        return None
    privacy = ClientPrivacy(
        epsilon=metrics[_EPSILON],
        delta=metrics[_DELTA],
        accountant=RDP if metrics[_IS_RDP] else PRV,
        noise_multiplier=metrics[_NOISE],
        sample_rate=metrics[_RATE],
        steps=int(metrics[_STEPS]),
    )
    makes_sense = (
        0 <= privacy.epsilon < math.inf
        and 0 < privacy.delta < 1
        and 0 < privacy.noise_multiplier < math.inf
        and 0 < privacy.sample_rate <= 1
    )
    return privacy if makes_sense else None
