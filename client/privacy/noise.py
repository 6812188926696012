"""Random numbers that nobody can guess: Gaussian noise and Poisson masks from ChaCha20's key stream.

torch's and numpy's generators can be told from random and run backwards by who sees enough of them; a run's ``seed``
never reaches this module. Opacus's ``secure_mode`` wants torchcsprng, which no longer exists.
"""

from __future__ import annotations

import math
import os

import numpy as np
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from numpy.typing import NDArray
from torch import Tensor

_KEY_BYTES, _COUNTER_AND_NONCE = 32, bytes(16)
_MANTISSA = 2.0**-53
_WORD = 2.0**-32


class SecureRandom:
    """One key stream of the operating system's entropy."""

    name = "chacha20"

    def __init__(self, key: bytes | None = None) -> None:
        """Start a stream; ``key`` is for tests, which then say what they expect."""
        algorithm = algorithms.ChaCha20(os.urandom(_KEY_BYTES) if key is None else key, _COUNTER_AND_NONCE)
        self._stream = Cipher(algorithm, mode=None).encryptor()

    def gaussian(self, count: int) -> Tensor:
        """Draw standard normal numbers, float64, by Box and Muller (1958), from 53 bits for radius and angle each.

        The radius ends at 8.6: what is beyond has a chance of 1e-16, below every delta.
        """
        pairs = (count + 1) // 2
        words = torch.frombuffer(bytearray(self._bytes(16 * pairs)), dtype=torch.int64)
        # The upper 53 bits, moved half a step from 0, whose logarithm is not finite.
        uniform = words.bitwise_right_shift(11).bitwise_and_(2**53 - 1).double().add_(0.5).mul_(_MANTISSA)
        radius = uniform[:pairs].log_().mul_(-2).sqrt_()
        angle = uniform[pairs:].mul_(2 * math.pi)
        return torch.cat([radius * angle.cos(), radius * angle.sin()])[:count]

    def poisson_mask(self, count: int, probability: float) -> NDArray[np.bool_]:
        """Choose each of ``count`` examples with this probability, to 2^-32, on its own."""
        if probability >= 1:
            return np.ones(count, np.bool_)
        words = np.frombuffer(self._bytes(4 * count), np.uint32)
        return words < np.uint32(min(math.floor(probability / _WORD), 2**32 - 1))

    def _bytes(self, count: int) -> bytes:
        return self._stream.update(bytes(count))


def add_noise(sums: list[Tensor], deviation: float, expected_batch: float, random: SecureRandom) -> list[Tensor]:
    """Add Gaussian noise to sums of clipped gradients, and divide by the expected batch.

    Sum and noise are added in float64 and rounded to the sums' own precision afterwards, all at once: the gaps of
    floating-point noise that tell what it was added to (Mironov, CCS 2012) lie below the last bit that is kept.

    Args:
        sums: One tensor a parameter.
        deviation: sigma x C.
        expected_batch: q x n: what Poisson sampling gives on the average, whatever it gave.
        random: Where the noise comes from.
    """
    flat = torch.cat([part.detach().reshape(-1).to(dtype=torch.float64, device="cpu") for part in sums])
    noisy = random.gaussian(len(flat)).mul_(deviation).add_(flat).div_(expected_batch)
    parts = torch.split(noisy, [part.numel() for part in sums])
    return [part.to(like).view_as(like) for part, like in zip(parts, sums, strict=True)]
