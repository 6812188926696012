"""What colluding attackers send, as pure functions of the honest updates they know: their own.

An attacker of the papers knows the mean and the spread of honest updates; clients that collude estimate both from what
they would have sent themselves.
"""

from __future__ import annotations

import statistics

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

_NORMAL = statistics.NormalDist()


def largest_unnoticed_z(num_clients: int, num_hostile: int) -> float:
    """Return z_max: how many deviations off the mean enough honest clients stand farther out themselves.

    Baruch et al., NeurIPS 2019, algorithm 3: with s = floor(n/2 + 1) - f honest clients to win over, the largest z with
    Phi(z) < (n - f - s) / (n - f). 0 where the attackers need nobody, or nobody is left.
    """
    to_win = num_clients // 2 + 1 - num_hostile
    num_honest = num_clients - num_hostile
    share = (num_honest - to_win) / num_honest if num_honest > 0 else 0.0
    return _NORMAL.inv_cdf(share) if 0.5 < share < 1 else 0.0


def a_little_is_enough(honest: FloatArray, z: float) -> FloatArray:
    """Return the mean moved by z deviations, against its own direction: Baruch et al., NeurIPS 2019, algorithm 3.

    Args:
        honest: Deltas, (colluders, coordinates).
        z: How many standard deviations.
    """
    mean = honest.mean(axis=0)
    moved: FloatArray = mean - z * honest.std(axis=0) * np.where(mean < 0, -1.0, 1.0)
    return moved


def inner_product_manipulation(honest: FloatArray, epsilon: float) -> FloatArray:
    """Return the mean turned round, times ``epsilon``: Xie et al., UAI 2019 (Fall of Empires), section 4.

    Args:
        honest: Deltas, (colluders, coordinates).
        epsilon: Above (n - f) / f the mean of all updates points against the honest one (theorem 1).
    """
    turned: FloatArray = -epsilon * honest.mean(axis=0)
    return turned


def noise_of_length(like: FloatArray, factor: float, rng: np.random.Generator) -> FloatArray:
    """Return normal noise ``factor`` times as long as ``like``: Blanchard et al., NeurIPS 2017, section 5.

    The paper's noise has a variance of 200, which any check of norms sees; this one is as long as such a check lets it.
    """
    noise = rng.standard_normal(like.shape)
    scaled: FloatArray = noise * (factor * float(np.linalg.norm(like)) / float(np.linalg.norm(noise)))
    return scaled
