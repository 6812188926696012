"""Shamir's secret sharing over a prime field: any ``threshold`` shares give the secret, fewer give nothing.

Shamir, CACM 22 (1979). The field is that of NIST's P-521 (FIPS 186-4, D.1.2.5), 2^521 - 1: secrets of 64 bytes fit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

PRIME = 2**521 - 1
SHARE_BYTES = 66  # a field element
MAX_SECRET_BYTES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """The polynomial at one place."""

    x: int  # from 1
    y: int

    def to_bytes(self) -> bytes:
        """Write the value; the place is known to both sides."""
        return self.y.to_bytes(SHARE_BYTES, "big")

    @classmethod
    def from_bytes(cls, x: int, data: bytes) -> Share:
        """Read what ``to_bytes`` wrote.

        Raises:
            ValueError: It is no element of the field.
        """
        y = int.from_bytes(data, "big")
        if len(data) != SHARE_BYTES or y >= PRIME:
            raise ValueError("a share is no element of the field")
        return cls(x=x, y=y)


def split(secret: bytes, num_shares: int, threshold: int, random_below: Callable[[int], int]) -> list[Share]:
    """Cut a secret into shares at the places 1 to ``num_shares``.

    Args:
        secret: At most ``MAX_SECRET_BYTES``.
        num_shares: How many.
        threshold: How many of them give the secret back.
        random_below: A uniformly random whole number below its argument, from a source fit for secrets.

    Raises:
        ValueError: The numbers make no sense.
    """
    if not 1 <= threshold <= num_shares or len(secret) > MAX_SECRET_BYTES:
        raise ValueError(f"cannot cut {len(secret)} bytes into {num_shares} shares of which {threshold} suffice")
    coefficients = [int.from_bytes(secret, "big"), *(random_below(PRIME) for _ in range(threshold - 1))]
    return [Share(x=x, y=_evaluate(coefficients, x)) for x in range(1, num_shares + 1)]


def combine(shares: Sequence[Share], length: int) -> bytes:
    """Put a secret of ``length`` bytes together again from at least as many shares as it needs.

    Raises:
        ValueError: Two shares are of one place, or the result is no secret of this length: a share was changed.
    """
    places = [share.x for share in shares]
    if not shares or len(set(places)) != len(places):
        raise ValueError("shares of different places are needed")
    secret = 0
    for share in shares:
        numerator = denominator = 1
        for other in places:
            if other != share.x:
                numerator = numerator * other % PRIME
                denominator = denominator * (other - share.x) % PRIME
        secret = (secret + share.y * numerator * pow(denominator, -1, PRIME)) % PRIME
    if secret >= 1 << (8 * length):
        raise ValueError("the shares do not fit together")
    return secret.to_bytes(length, "big")


def _evaluate(coefficients: Sequence[int], x: int) -> int:
    value = 0
    for coefficient in reversed(coefficients):
        value = (value * x + coefficient) % PRIME
    return value
