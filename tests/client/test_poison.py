"""What colluding attackers send, against cases worked by hand from the papers."""

from __future__ import annotations

import numpy as np
import pytest

from client.poison import (
    a_little_is_enough,
    inner_product_manipulation,
    largest_unnoticed_z,
    noise_of_length,
)


@pytest.mark.parametrize(
    ("clients", "hostile", "z"),
    [
        (50, 24, 1.4261),  # s = 26 - 24 = 2 of 26 honest: Phi(z) = 24 / 26
        (10, 3, 0.1800),  # s = 3 of 7: Phi(z) = 4 / 7
        (10, 1, 0.0),  # s = 5 of 9: fewer than half stand farther out
        (3, 3, 0.0),
    ],
)
def test_z_max_leaves_enough_honest_clients_farther_out(clients, hostile, z):
    assert largest_unnoticed_z(clients, hostile) == pytest.approx(z, abs=1e-4)


def test_alie_moves_the_mean_by_z_deviations_against_itself():
    # Means 2 and -3, deviations 1 and 2.
    honest = np.array([[1.0, -1.0], [3.0, -5.0]])
    assert a_little_is_enough(honest, 1.5).tolist() == [0.5, 0.0]


def test_ipm_turns_the_mean_of_all_updates_round():
    honest = np.array([[1.0, 2.0], [3.0, 0.0]])
    assert inner_product_manipulation(honest, 2.0).tolist() == [-4.0, -2.0]
    # n = 4, f = 2: above epsilon = (4 - 2) / 2 the mean of all four points against the honest one.
    for epsilon, sign in ((0.9, 1), (1.1, -1)):
        hostile = inner_product_manipulation(honest, epsilon)
        everybody = (honest.sum(axis=0) + 2 * hostile) / 4
        assert np.sign(everybody @ honest.mean(axis=0)) == sign


def test_noise_is_as_long_as_it_is_told():
    noise = noise_of_length(np.array([3.0, 4.0, 0.0]), 2.0, np.random.default_rng(0))
    assert np.linalg.norm(noise) == pytest.approx(10.0)
