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
        self._zeros, self._words = b"", bytearray()  # kept between steps: fresh memory costs more than the cipher

    def gaussian(self, count: int) -> Tensor:
        """Draw standard normal numbers, float64, by Box and Muller (1958), from 53 bits for radius and angle each.

        The radius ends at 8.6: what is beyond has a chance of 1e-16, below every delta.
        """
        pairs = (count + 1) // 2
        words = torch.frombuffer(self._draw(16 * pairs), dtype=torch.int64, count=2 * pairs)
        # The upper 53 bits, moved half a step from 0, whose logarithm is not finite.
        uniform = words.bitwise_right_shift_(11).bitwise_and_(2**53 - 1).double().add_(0.5).mul_(_MANTISSA)
        radius = uniform[:pairs].log_().mul_(-2).sqrt_()
        angle = uniform[pairs:].mul_(2 * math.pi)
        noise = torch.empty(2 * pairs, dtype=torch.float64)
        torch.mul(radius, angle.cos(), out=noise[:pairs])
        torch.mul(radius, angle.sin_(), out=noise[pairs:])
        return noise[:count]

    def poisson_mask(self, count: int, probability: float) -> NDArray[np.bool_]:
        """Choose each of ``count`` examples with this probability, to 2^-32, on its own."""
        if probability >= 1:
            return np.ones(count, np.bool_)
        words = np.frombuffer(self._draw(4 * count), np.uint32, count)
        return words < np.uint32(min(math.floor(probability / _WORD), 2**32 - 1))

    def _draw(self, count: int) -> bytearray:
        """Write the next bytes of the key stream to the front of a buffer, which the next call overwrites."""
        if len(self._words) < count:
            self._zeros, self._words = bytes(count), bytearray(count)
        self._stream.update_into(memoryview(self._zeros)[:count], self._words)
        return self._words


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
    sizes = [part.numel() for part in sums]
    noise = random.gaussian(sum(sizes)).mul_(deviation)
    noisy = [
        part.add_(one.detach().reshape(-1).to("cpu")) for part, one in zip(torch.split(noise, sizes), sums, strict=True)
    ]
    noise.div_(expected_batch)
    return [part.to(like).view_as(like) for part, like in zip(noisy, sums, strict=True)]
