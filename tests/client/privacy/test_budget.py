"""The gate: all rounds of a calibrated run, not one more, and nothing without a charge."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from client.privacy.budget import Charged, PrivateData, charge_round
from client.privacy.ledger import PrivacyLedger
from shared.config import RunConfig
from shared.errors import ConfigError, PrivacyRefused
from shared.privacy.accounting import rdp_epsilon
from shared.privacy.history import num_steps
from shared.reasons import Reason

CONFIG = RunConfig(dp=True, target_epsilon=3.0, num_rounds=10, batch_size=32)
EXAMPLES = 600


def data_in(folder: Path, *, run: str = "run-1", max_epsilon: float = 0.0, dataset: str = "digits") -> PrivateData:
    return PrivateData(ledger=PrivacyLedger(folder, "client-0"), dataset=dataset, run=run, max_epsilon=max_epsilon)


def charge(data: PrivateData, config: RunConfig = CONFIG, num_examples: int = EXAMPLES) -> Charged:
    return charge_round(data, num_examples, config, config)


def refused(data: PrivateData, config: RunConfig = CONFIG) -> PrivacyRefused:
    with pytest.raises(PrivacyRefused) as refusal:
        charge(data, config)
    return refusal.value


def test_a_run_calibrated_for_ten_rounds_completes_ten_and_refuses_the_eleventh(tmp_path: Path) -> None:
    data = data_in(tmp_path)
    rounds = [charge(data) for _ in range(10)]
    assert {charged.noise_multiplier for charged in rounds} == {rounds[0].noise_multiplier}, "calibrated once"
    assert 1.29 < rounds[0].noise_multiplier < 1.32, "the specification's 1.31"
    epsilons = [charged.privacy.epsilon for charged in rounds]
    assert epsilons == sorted(epsilons)
    assert 2.999 < epsilons[-1] <= 3.0
    assert rounds[-1].privacy.steps == 190
    with data.ledger.opened("digits") as ledger:
        assert rdp_epsilon(ledger.entry.history, 1e-5) > 3, "gated by RDP alone it would not have come that far"
    refusal = refused(data)
    assert refusal.reason == Reason.BUDGET_EXHAUSTED
    assert "of 3 is spent at delta 1e-05; another round would make it 3." in str(refusal)
    with data.ledger.opened("digits") as ledger:
        assert num_steps(ledger.entry.history) == 190, "a refused round is not charged"


def test_long_runs_end_exactly_with_their_last_round_too(tmp_path: Path) -> None:
    config = replace(CONFIG, num_rounds=60, batch_size=200)
    data = data_in(tmp_path)
    for _ in range(60):
        charge(data, config)
    assert refused(data, config).reason == Reason.BUDGET_EXHAUSTED


def test_a_second_run_lives_on_what_the_first_one_left(tmp_path: Path) -> None:
    first = [charge(data_in(tmp_path)) for _ in range(5)]
    second_run = data_in(tmp_path, run="run-2")
    second = [charge(second_run) for _ in range(10)]
    assert second[0].noise_multiplier > first[0].noise_multiplier, "all ten rounds out of what is left"
    assert second[-1].privacy.epsilon <= 3.0
    assert refused(second_run).reason == Reason.BUDGET_EXHAUSTED
    third = refused(data_in(tmp_path, run="run-3"))
    assert third.reason == Reason.BUDGET_EXHAUSTED
    assert "is spent at delta 1e-05" in str(third)


def test_other_data_has_its_own_budget(tmp_path: Path) -> None:
    for _ in range(10):
        charge(data_in(tmp_path))
    assert charge(data_in(tmp_path, dataset="other")).privacy.epsilon < 3


def test_a_round_that_is_repeated_is_charged_again(tmp_path: Path) -> None:
    data = data_in(tmp_path)
    first = charge(data)
    again = charge(data)  # the same round after a kill -9
    assert again.privacy.steps == 2 * first.privacy.steps


def test_given_noise_is_used_and_the_budget_ends_the_training(tmp_path: Path) -> None:
    config = replace(CONFIG, noise_multiplier=1.0, target_epsilon=4.0)
    data = data_in(tmp_path)
    assert [charge(data, config).noise_multiplier for _ in range(4)] == [1.0] * 4
    refusals = []
    for _ in range(4):
        try:
            charge(data, config)
        except PrivacyRefused as refusal:
            refusals.append(str(refusal))
    assert len(set(refusals)) == 1, "once it is spent it stays so"
    assert refusals[0].startswith("epsilon 3.")


def test_given_noise_without_a_budget_is_never_refused_only_counted(tmp_path: Path) -> None:
    config = replace(CONFIG, noise_multiplier=0.5, target_epsilon=0.0)
    data = data_in(tmp_path)
    for _ in range(4):
        last = charge(data, config)
    assert last.privacy.epsilon > 10


def test_the_owners_bound_holds_whatever_the_server_asks_for(tmp_path: Path) -> None:
    data = data_in(tmp_path, max_epsilon=1.0)
    for _ in range(10):
        last = charge(data, replace(CONFIG, target_epsilon=1000.0))
    assert 0.999 < last.privacy.epsilon <= 1.0
    assert refused(data, replace(CONFIG, target_epsilon=1000.0)).reason == Reason.BUDGET_EXHAUSTED
    loud = data_in(tmp_path, max_epsilon=1.0, dataset="other")
    assert refused(loud, replace(CONFIG, target_epsilon=0.0, noise_multiplier=0.3)).reason == Reason.BUDGET_EXHAUSTED


def test_more_epochs_in_a_round_than_planned_cost_more_and_end_the_run_earlier(tmp_path: Path) -> None:
    data = data_in(tmp_path)
    greedy = replace(CONFIG, local_epochs=5)
    for _ in range(2):
        charge_round(data, EXAMPLES, CONFIG, greedy)
    with pytest.raises(PrivacyRefused, match="another round would make it"):
        charge_round(data, EXAMPLES, CONFIG, CONFIG)


def test_a_delta_of_one_in_n_is_refused_before_anything_is_charged(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="delta must be below 1/n"):
        charge(data_in(tmp_path), replace(CONFIG, delta=1 / EXAMPLES))
    assert not (tmp_path / "client-0").exists()


def test_delta_follows_from_the_number_of_examples(tmp_path: Path) -> None:
    assert charge(data_in(tmp_path), replace(CONFIG, batch_size=20_000), 40_000).privacy.delta == 2.5e-6


def test_a_server_cannot_stretch_the_owners_bound_by_a_weak_delta(tmp_path: Path) -> None:
    weak = replace(CONFIG, delta=0.99 / EXAMPLES, target_epsilon=1000.0)
    last = charge(data_in(tmp_path, max_epsilon=1.0), weak)
    assert last.privacy.delta == 1e-5, "the bound is meant at the usual delta, or a stronger one"
    assert last.noise_multiplier == charge(data_in(tmp_path / "b", max_epsilon=1.0), CONFIG).noise_multiplier
    strong = replace(weak, delta=1e-7)
    assert charge(data_in(tmp_path / "c", max_epsilon=1.0), strong).privacy.delta == 1e-7
    assert charge(data_in(tmp_path / "d"), weak).privacy.delta == 0.99 / EXAMPLES, "no bound of the owner's"
