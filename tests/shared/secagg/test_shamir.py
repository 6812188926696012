"""Shamir's sharing against sympy's interpolation over the same field, and by hand."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sympy import isprime
from sympy.polys.domains import GF
from sympy.polys.polyfuncs import interpolate

from shared.secagg.shamir import PRIME, SHARE_BYTES, Share, combine, split

below = random.Random(7).randrange


def test_the_field_is_that_of_p521():
    assert int("1ff" + "f" * 128, 16) == PRIME  # FIPS 186-4, D.1.2.5
    assert isprime(PRIME)


def test_by_hand():
    # f(x) = 5 + 3 x + 2 x^2: 10, 19, 32, 49
    coefficients = iter([3, 2])
    shares = split(b"\x05", 4, 3, lambda _: next(coefficients))
    assert [(share.x, share.y) for share in shares] == [(1, 10), (2, 19), (3, 32), (4, 49)]
    assert combine(shares[1:], 1) == b"\x05"


@given(secret=st.binary(min_size=32, max_size=64), num_shares=st.integers(1, 9), data=st.data())
def test_any_threshold_of_them_give_the_secret(secret, num_shares, data):
    threshold = data.draw(st.integers(1, num_shares))
    shares = split(secret, num_shares, threshold, below)
    chosen = data.draw(st.permutations(shares))[:threshold]
    assert combine(chosen, len(secret)) == secret


def test_combining_equals_sympys_interpolation():
    shares = split(bytes(range(32)), 6, 4, below)
    for chosen in itertools.combinations(shares, 4):
        field = GF(PRIME)
        total = field(0)
        for share in chosen:  # Lagrange's basis at 0, by sympy's arithmetic
            basis = field(1)
            for other in chosen:
                if other is not share:
                    basis *= field(other.x) / (field(other.x) - field(share.x))
            total += field(share.y) * basis
        assert int(total) % PRIME == int.from_bytes(combine(list(chosen), 32), "big")
    assert interpolate([10, 19, 32], 0) == 5


def test_fewer_shares_fit_every_secret():
    # Whatever the secret, there is a polynomial through the shares that are known: they tell nothing.
    shares = split(b"\x2a" * 32, 5, 3, below)[:2]
    for guess in (0, 1, 2**255):
        third = Share(x=9, y=(guess + 81 * 5 + 9 * 7) % PRIME)
        assert combine([*shares, third], SHARE_BYTES) != b"\x2a" * 32


def test_what_makes_no_sense_is_refused():
    shares = split(b"\x01" * 32, 3, 2, below)
    with pytest.raises(ValueError, match="different places"):
        combine([shares[0], shares[0]], 32)
    with pytest.raises(ValueError, match="do not fit together"):
        combine([shares[0], Share(x=2, y=shares[1].y ^ (1 << 500))], 32)
    with pytest.raises(ValueError, match="cannot cut"):
        split(b"\x01", 2, 3, below)
    for data in (b"", bytes(65), PRIME.to_bytes(SHARE_BYTES, "big")):
        with pytest.raises(ValueError, match="no element of the field"):
            Share.from_bytes(1, data)
    assert Share.from_bytes(2, shares[1].to_bytes()) == shares[1]
