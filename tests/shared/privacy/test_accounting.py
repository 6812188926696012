"""Epsilon against two independent accountants, and the rules around delta."""

from __future__ import annotations

import math

import pytest

from shared.errors import ConfigError
from shared.privacy.accounting import (
    MAX_PRV_EPSILON,
    PRV,
    RDP,
    estimate_privacy,
    is_within,
    prv_epsilon,
    quick_rdp_epsilon,
    rdp_epsilon,
    spent,
    warning_of,
)
from shared.privacy.history import Segment, extend, num_steps, resolve_delta, sampling_of

HISTORIES = [(1.0, 1 / 16, 320, 1e-5), (0.8, 1 / 19, 190, 1e-5), (3.59, 1 / 16, 1600, 1e-5), (1.1, 1 / 256, 3000, 1e-6)]


def segment(noise_multiplier: float, sample_rate: float, steps: int) -> Segment:
    return Segment(noise_multiplier=noise_multiplier, sample_rate=sample_rate, steps=steps)


@pytest.mark.filterwarnings("ignore:Optimal order is the largest alpha")  # Opacus: its bound could be tighter
@pytest.mark.parametrize(("sigma", "q", "steps", "delta"), HISTORIES)
def test_epsilon_is_that_of_opacus_own_accountants(sigma: float, q: float, steps: int, delta: float) -> None:
    from opacus.accountants import PRVAccountant, RDPAccountant

    history = (segment(sigma, q, steps),)
    prv, rdp = PRVAccountant(), RDPAccountant()
    prv.history = rdp.history = [(sigma, q, steps)]
    assert prv_epsilon(history, delta) == pytest.approx(prv.get_epsilon(delta), rel=1e-3)
    assert rdp_epsilon(history, delta) == pytest.approx(rdp.get_epsilon(delta), rel=1e-12)
    assert quick_rdp_epsilon(history, delta) >= rdp_epsilon(history, delta) > prv_epsilon(history, delta)


@pytest.mark.parametrize(("sigma", "q", "steps", "delta"), HISTORIES)
def test_epsilon_is_within_a_hundredth_of_googles_accountant(sigma: float, q: float, steps: int, delta: float) -> None:
    import dp_accounting
    from dp_accounting.pld import PLDAccountant

    accountant = PLDAccountant()
    event = dp_accounting.PoissonSampledDpEvent(q, dp_accounting.GaussianDpEvent(sigma))
    accountant.compose(event, steps)
    exact = accountant.get_epsilon(delta)
    ours = spent((segment(sigma, q, steps),), delta).epsilon
    assert exact - 1e-6 <= ours <= exact * 1.01 + 0.001


def test_a_life_of_two_runs_costs_what_both_cost_together() -> None:
    import dp_accounting
    from dp_accounting.pld import PLDAccountant

    accountant = PLDAccountant()
    for sigma, q, steps in ((1.0, 1 / 16, 160), (2.0, 1 / 8, 80)):
        accountant.compose(dp_accounting.PoissonSampledDpEvent(q, dp_accounting.GaussianDpEvent(sigma)), steps)
    life = spent((segment(1.0, 1 / 16, 160), segment(2.0, 1 / 8, 80)), 1e-5)
    assert life.accountant == PRV
    assert life.epsilon == pytest.approx(accountant.get_epsilon(1e-5), rel=0.01)


def test_twenty_rounds_cost_three_times_what_one_round_costs() -> None:
    # The specification's example of accounting by the round: n = 1000, b = 64, sigma 1: 2.76 a round, 8.44 in truth.
    history = (segment(1.0, 1 / 16, 320),)
    assert rdp_epsilon(history, 1e-5) == pytest.approx(8.44, abs=0.01)
    assert rdp_epsilon((segment(1.0, 1 / 16, 16),), 1e-5) == pytest.approx(2.76, abs=0.01)


@pytest.mark.parametrize(
    ("n", "batch_size", "rounds", "epochs", "epsilon", "sigma"),
    [
        (600, 32, 10, 1, 1, 2.95),
        (600, 32, 10, 1, 3, 1.31),
        (600, 32, 10, 1, 8, 0.80),
        (1000, 64, 20, 1, 1, 4.38),
        (1000, 64, 20, 1, 3, 1.78),
        (1000, 64, 20, 1, 8, 0.98),
        (1000, 64, 50, 2, 1, 9.53),
        (1000, 64, 50, 2, 3, 3.59),
        (1000, 64, 50, 2, 8, 1.68),
    ],
)
def test_calibration_gives_the_noise_that_was_measured_with_opacus_and_spends_the_whole_budget(
    n: int, batch_size: int, rounds: int, epochs: int, epsilon: float, sigma: float
) -> None:
    estimate = estimate_privacy(
        num_examples=n, batch_size=batch_size, local_epochs=epochs, num_rounds=rounds, target_epsilon=epsilon
    )
    # Opacus's own search stops up to 0.01 of epsilon before the target, hence with up to 1% more noise.
    assert sigma * 0.99 <= estimate.noise_multiplier <= sigma + 0.005
    assert epsilon * 0.9999 <= estimate.epsilon <= epsilon
    assert estimate.steps == rounds * epochs * math.ceil(n / batch_size)
    one_more = (segment(estimate.noise_multiplier, estimate.sample_rate, estimate.steps + estimate.steps // rounds),)
    all_rounds = (segment(estimate.noise_multiplier, estimate.sample_rate, estimate.steps),)
    assert is_within(all_rounds, epsilon, estimate.delta)
    assert not is_within(one_more, epsilon, estimate.delta)


def test_rdp_alone_would_refuse_a_run_that_prv_calibrated() -> None:
    estimate = estimate_privacy(num_examples=600, batch_size=32, local_epochs=1, num_rounds=10, target_epsilon=8)
    history = (segment(estimate.noise_multiplier, estimate.sample_rate, estimate.steps),)
    assert rdp_epsilon(history, estimate.delta) > 8
    assert is_within(history, 8, estimate.delta)


def test_the_estimate_grows_round_by_round_up_to_its_end() -> None:
    estimate = estimate_privacy(num_examples=500, batch_size=50, local_epochs=1, num_rounds=6, noise_multiplier=1.0)
    rounds, epsilons = zip(*estimate.by_round, strict=True)
    assert rounds == (1, 2, 3, 4, 5, 6)
    assert list(epsilons) == sorted(epsilons)
    assert epsilons[-1] == estimate.epsilon
    assert (estimate.sample_rate, estimate.delta) == (0.1, 1e-5)


def test_a_long_estimate_has_few_points_and_ends_at_the_last_round() -> None:
    estimate = estimate_privacy(num_examples=60, batch_size=30, local_epochs=1, num_rounds=317, noise_multiplier=9.0)
    assert len(estimate.by_round) <= 100
    assert estimate.by_round[-1] == (317, estimate.epsilon)


def test_a_cost_beyond_all_meaning_is_bounded_by_rdp_without_a_grid() -> None:
    cost = spent((segment(0.2, 0.5, 1000),), 1e-5)
    assert cost.accountant == RDP
    assert cost.epsilon > MAX_PRV_EPSILON


def test_nothing_done_costs_nothing() -> None:
    assert spent((), 1e-5).epsilon == 0
    assert is_within((), 0.0, 1e-5)


def test_sampling_counts_batches_as_opacus_does() -> None:
    sampling = sampling_of(num_examples=1000, batch_size=64, local_epochs=2)
    assert (sampling.sample_rate, sampling.steps, sampling.expected_batch) == (1 / 16, 32, 62.5)
    assert sampling_of(num_examples=1000, batch_size=64, local_epochs=2, local_steps=5).steps == 5


def test_steps_of_equal_constants_are_one_segment() -> None:
    history = extend(extend((), segment(1.0, 0.1, 10)), segment(1.0, 0.1, 5))
    assert history == (segment(1.0, 0.1, 15),)
    assert num_steps(extend(history, segment(2.0, 0.1, 1))) == 16
    assert extend(history, segment(1.0, 0.1, 0)) == history


def test_delta_is_a_tenth_of_one_in_n_at_most_and_never_one_in_n() -> None:
    assert resolve_delta(0, 100) == 1e-5
    assert resolve_delta(0, 1_000_000) == 1e-7
    assert resolve_delta(0.009, 100) == 0.009
    with pytest.raises(ConfigError, match=r"delta must be below 1/n, which is 0.01 for a client of 100 examples"):
        resolve_delta(0.01, 100)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_examples": 0}, "num-examples must be at least 1"),
        ({"batch_size": 0}, "batch-size must be at least 1"),
        ({"num_rounds": -1}, "num-rounds must be at least 1"),
        ({"noise_multiplier": math.nan}, "noise-multiplier must be at least 0"),
        ({"noise_multiplier": -1.0}, "noise-multiplier must be at least 0"),
        ({"target_epsilon": math.inf}, "target-epsilon must be at least 0"),
        ({"target_epsilon": 3.0}, "not both"),
        ({"noise_multiplier": 0.0}, "must be above 0"),
        ({"delta": 0.5}, "delta must be below 1/n"),
        ({"delta": 1.0}, "delta must be at least 0 and below 1"),
        ({"noise_multiplier": 0.0, "target_epsilon": 1e-7}, "cannot be kept by any noise"),
    ],
)
def test_an_estimate_refuses_what_makes_no_sense(changes: dict[str, float], message: str) -> None:
    settings = {"num_examples": 100, "batch_size": 10, "local_epochs": 1, "num_rounds": 2, "noise_multiplier": 1.0}
    with pytest.raises(ConfigError, match=message):
        estimate_privacy(**(settings | changes))  # type: ignore[arg-type]


def test_warnings_name_what_makes_a_guarantee_weak() -> None:
    assert "epsilon 12 is above 10" in warning_of(12.0, 1e-5, 1000, 0.1)
    assert "delta 0.01 is not below 1/n" in warning_of(1.0, 0.01, 100, 0.1)
    assert "every step sees all 40 examples" in warning_of(1.0, 1e-5, 40, 1.0)
    assert warning_of(3.0, 1e-5, 1000, 0.1) == ""
