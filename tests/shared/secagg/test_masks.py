"""Masks against RFC 8439's key stream, keys against RFC 7748's, letters against whoever changes them."""

from __future__ import annotations

import numpy as np
import pytest
from cryptography.exceptions import InvalidTag
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import ConfigError
from shared.secagg.masks import agreed_seed, expand, public_bytes, seal, unseal
from shared.secagg.neighbours import neighbours, num_neighbours, threshold_of
from shared.secagg.quantisation import Quantisation, weight_levels, weight_of


def test_mask_is_chacha20s_key_stream():
    # RFC 8439, appendix A.1, test vector 1: key, nonce and counter all zero.
    stream = bytes.fromhex(
        "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"
        "da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586"
    )
    assert expand(bytes(32), 16).astype("<u4").tobytes() == stream


def test_both_sides_agree_and_each_purpose_and_context_has_its_own_seed():
    alice = bytes(range(32))
    # Bob's keys of RFC 7748, section 6.1
    bob = bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")
    assert public_bytes(bob).hex() == "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"
    one = agreed_seed(alice, public_bytes(bob), "mask", b"s")
    assert one == agreed_seed(bob, public_bytes(alice), "mask", b"s")
    assert (
        len(
            {
                one,
                agreed_seed(alice, public_bytes(bob), "seal", b"s"),
                agreed_seed(alice, public_bytes(bob), "mask", b"t"),
            }
        )
        == 3
    )
    with pytest.raises(ValueError, match=r"."):
        agreed_seed(alice, bytes(32), "mask", b"s")  # a point of small order


def test_letters_that_were_changed_do_not_open():
    letter = seal(b"k" * 32, b"two shares")
    assert unseal(b"k" * 32, letter) == b"two shares"
    for place in range(len(letter)):
        changed = bytearray(letter)
        changed[place] ^= 1
        with pytest.raises(InvalidTag):
            unseal(b"k" * 32, bytes(changed))
    with pytest.raises(InvalidTag):
        unseal(b"j" * 32, letter)


@given(size=st.integers(1, 300), seed=st.integers(0, 2**63))
def test_neighbours_are_mutual_and_as_many_as_they_should(size, seed):
    near = neighbours(list(range(100, 100 + size)), seed)
    wanted = num_neighbours(size)
    for node, others in near.items():
        assert node not in others
        assert all(node in near[other] for other in others)
        assert len(others) in (wanted, min(wanted + wanted % 2, size - 1))
    if size >= 2:
        assert 2 * threshold_of(wanted) > wanted


def test_sixteen_know_all_and_a_thousand_know_forty():
    assert (num_neighbours(16), num_neighbours(1000)) == (15, 40)


@given(st.integers(1, 40), st.integers(0, 1000))
def test_the_sum_of_the_quantised_is_the_weighted_mean_within_half_a_step(cohort, seed):
    rng = np.random.default_rng(seed)
    examples = rng.integers(1, 900, cohort).tolist()
    grid = Quantisation(clip=2.0, max_weight=weight_levels(max(examples), cohort), cohort=cohort)
    weights = [weight_of(n, max(examples), grid.max_weight) for n in examples]
    changes = rng.uniform(-2, 2, (cohort, 5))
    total = np.zeros(6, np.uint32)
    for change, weight in zip(changes, weights, strict=True):
        total += grid.encode(change, weight)
    mean, weight = grid.decode(total)
    assert weight == sum(weights)
    assert np.abs(mean - np.average(changes, axis=0, weights=weights)).max() <= grid.step / 2 * (1 + 1e-9)


def test_values_outside_the_clip_are_cut_and_the_sum_never_wraps():
    grid = Quantisation(clip=1.0, max_weight=1000, cohort=16)
    total = np.zeros(3, np.uint32)
    for _ in range(16):
        total += grid.encode(np.array([1e9, -1e9]), 1000)
    mean, _ = grid.decode(total)
    assert mean == pytest.approx([1.0, -1.0])


def test_weights_are_examples_where_they_fit():
    assert weight_levels(800, 10) == 800
    assert [weight_of(n, 800, 800) for n in (0, 1, 799, 800, 10**9)] == [1, 1, 799, 800, 800]
    assert weight_levels(10**6, 10) == 1638


def test_impossible_grids_and_sums_are_refused():
    with pytest.raises(ConfigError, match="255 are needed"):
        Quantisation(clip=1.0, max_weight=2**14, cohort=2**11)
    with pytest.raises(ConfigError, match="positive clip"):
        Quantisation(clip=0.0, max_weight=1, cohort=1)
    grid = Quantisation(clip=1.0, max_weight=10, cohort=3)
    for weight in (0, 31):
        with pytest.raises(ValueError, match="impossible weight"):
            grid.decode(np.array([1, weight], np.uint32))
