"""The noise is what its name says, and nobody chooses it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from scipy import stats

from client.privacy.noise import SecureRandom, add_noise

KEY = bytes(range(32))
COUNT = 200_000


def test_gaussian_noise_passes_a_test_of_kolmogorov_and_smirnov() -> None:
    noise = SecureRandom(KEY).gaussian(COUNT).numpy()
    assert stats.kstest(noise, "norm").pvalue > 0.01
    assert abs(noise.mean()) < 4 / COUNT**0.5
    assert noise.var() == pytest.approx(1.0, abs=4 * (2 / COUNT) ** 0.5)
    assert stats.skew(noise) == pytest.approx(0.0, abs=4 * (6 / COUNT) ** 0.5)
    assert stats.kurtosis(noise) == pytest.approx(0.0, abs=4 * (24 / COUNT) ** 0.5)
    beyond_four = np.abs(noise) > 4  # 6.33e-5 of a normal's
    assert 3 <= beyond_four.sum() <= 26, "Poisson of mean 12.7"


def test_the_two_halves_of_a_pair_are_independent() -> None:
    noise = SecureRandom(KEY).gaussian(COUNT).numpy()
    cosines, sines = noise[: COUNT // 2], noise[COUNT // 2 :]
    bound = 4 / (COUNT // 2) ** 0.5
    for first, second in ((cosines, sines), (cosines**2, sines**2), (noise[:-1], noise[1:])):
        assert abs(np.corrcoef(first, second)[0, 1]) < bound


def test_noise_comes_from_the_key_stream_of_chacha20() -> None:
    stream = Cipher(algorithms.ChaCha20(KEY, bytes(16)), mode=None).encryptor()
    words = np.frombuffer(stream.update(bytes(16)), np.uint64)
    uniform = ((words >> np.uint64(11)).astype(np.float64) + 0.5) / 2**53
    radius = np.sqrt(-2 * np.log(uniform[0]))
    expected = [radius * np.cos(2 * np.pi * uniform[1]), radius * np.sin(2 * np.pi * uniform[1])]
    assert SecureRandom(KEY).gaussian(2).numpy() == pytest.approx(expected, rel=1e-12)
    assert len(SecureRandom(KEY).gaussian(7)) == 7


def test_two_streams_never_start_alike() -> None:
    assert not torch.equal(SecureRandom().gaussian(8), SecureRandom().gaussian(8))
    again = SecureRandom(KEY)
    assert not torch.equal(again.gaussian(8), again.gaussian(8))


def test_torchs_and_numpys_seeds_do_not_reach_the_noise() -> None:
    draws = []
    for _ in range(2):
        torch.manual_seed(1)
        np.random.seed(1)
        draws.append(SecureRandom().gaussian(4))
    assert not torch.equal(*draws)


@pytest.mark.parametrize("probability", [0.04, 0.5])
def test_a_poisson_mask_takes_each_example_with_its_probability_on_its_own(probability: float) -> None:
    random = SecureRandom(KEY)
    masks = np.stack([random.poisson_mask(500, probability) for _ in range(400)])
    sizes = masks.sum(1)
    assert sizes.mean() == pytest.approx(500 * probability, abs=4 * (500 * probability / 400) ** 0.5)
    assert sizes.var() == pytest.approx(500 * probability * (1 - probability), rel=0.3)
    by_example = masks.mean(0)
    assert np.abs(by_example - probability).max() < 5 * (probability * (1 - probability) / 400) ** 0.5


def test_a_probability_of_one_takes_everybody_and_a_tiny_one_hardly_anybody() -> None:
    assert SecureRandom(KEY).poisson_mask(50, 1.0).all()
    assert not SecureRandom(KEY).poisson_mask(50, 1e-9).any()


def test_noise_is_added_before_the_division_by_the_expected_batch() -> None:
    sums = [torch.full((3, 2), 8.0), torch.full((5,), -4.0)]
    noise = SecureRandom(KEY).gaussian(11)
    first, second = add_noise(sums, 3.0, 4.0, SecureRandom(KEY))
    assert first.dtype == torch.float32
    assert first.shape == (3, 2)
    assert torch.allclose(first.flatten().double(), (8.0 + 3.0 * noise[:6]) / 4, atol=1e-6)
    assert torch.allclose(second.double(), (-4.0 + 3.0 * noise[6:]) / 4, atol=1e-6)
