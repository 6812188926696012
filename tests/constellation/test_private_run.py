"""Whole private runs: the budget holds to the last round, a spent client is left alone, and a killed run goes on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from client.privacy.ledger import PrivacyLedger
from constellation import RunConfig
from constellation.training import run
from shared.errors import CheckpointError, ConfigError
from shared.events import MemorySink, PhaseStarted, PrivacySpent, RunWaiting, UpdateRejected
from shared.privacy.history import num_steps

SMALL = RunConfig(
    dataset="synthetic",
    num_examples=300,
    model="linear",
    partition="iid",
    num_clients=3,
    num_rounds=3,
    batch_size=20,
    dp=True,
    target_epsilon=6.0,
    signatures=False,
    no_dashboard=True,
)


def steps_in(run_dir: Path, client: str, dataset: str = "synthetic") -> int:
    with PrivacyLedger(run_dir / "privacy", client).opened(dataset) as ledger:
        return num_steps(ledger.entry.history)


def test_a_calibrated_run_completes_all_its_rounds_and_says_what_it_spent(tmp_path: Path) -> None:
    sink = MemorySink()
    result = run(replace(SMALL, output=str(tmp_path)), sinks=[sink])
    assert (result.state, result.updates_accepted, result.updates_rejected) == ("completed", 9, 0)
    events = sink.of_type(PrivacySpent)
    assert [event.server_round for event in events] == [1, 2, 3]
    last = events[-1]
    assert 5.99 < last.epsilon <= 6.0
    assert last.epsilon_median <= last.epsilon
    assert (last.unit, last.accountant, last.sampler, last.num_clients) == ("example", "prv", "poisson", 3)
    assert set(last.by_client) == {"client-0", "client-1", "client-2"}
    figures = json.loads((result.output / "report.json").read_text())
    assert figures["epsilon"] == last.epsilon == result.to_json()["epsilon"]
    assert figures["delta"] == 1e-5
    assert figures["privacy"]["noise_multiplier"] == last.noise_multiplier
    assert "(ε = 6, δ = 1e-05) for each example" in (result.output / "report.html").read_text()
    assert all(steps_in(result.output, f"client-{index}") > 0 for index in range(3))


def test_spent_clients_are_told_from_the_others_and_never_asked_again(tmp_path: Path) -> None:
    """The largest client's q is smallest: with noise that is given, the others spend the budget before it does."""
    config = replace(
        SMALL,
        output=str(tmp_path),
        partition="dirichlet",
        alpha=0.4,
        min_partition_size=30,
        num_rounds=6,
        noise_multiplier=1.0,
        target_epsilon=5.0,
        signatures=True,
        key_dir=str(tmp_path / "keys"),
    )
    sink = MemorySink()
    result = run(config, sinks=[sink])
    refusals = sink.of_type(UpdateRejected)
    assert {refusal.reason for refusal in refusals} == {"budget-exhausted"}
    spent_in = {refusal.client: refusal.server_round for refusal in refusals}
    assert len(refusals) == len(spent_in) >= 1, "each says so once"
    for phase in sink.of_type(PhaseStarted):
        asked_after = {client for client in phase.clients if phase.server_round > spent_in.get(client, 99)}
        assert not asked_after, f"{asked_after} asked to {phase.phase} in round {phase.server_round}"
    assert sink.of_type(PrivacySpent)[-1].exhausted_clients == len(spent_in)
    assert result.rejections == {"budget-exhausted": len(spent_in)}
    if len(spent_in) < 3:
        assert result.state == "completed", "the run goes on with the others"


def test_a_run_whose_clients_have_all_spent_their_budget_ends_and_keeps_its_model(tmp_path: Path) -> None:
    config = replace(SMALL, output=str(tmp_path), num_rounds=9, noise_multiplier=1.0, target_epsilon=4.0)
    sink = MemorySink()
    result = run(config, sinks=[sink])
    assert result.state == "stopped"
    assert 1 <= result.rounds_completed < 9
    assert "privacy budget" in sink.of_type(RunWaiting)[-1].reason
    assert max(event.epsilon for event in sink.of_type(PrivacySpent)) <= 4.0
    assert (result.output / "model.safetensors").exists()


def test_the_seed_fixes_the_start_and_never_the_noise(tmp_path: Path) -> None:
    first, second = (run(replace(SMALL, output=str(tmp_path), num_rounds=1)) for _ in range(2))
    assert [row.num_examples for row in first.series.clients] == [row.num_examples for row in second.series.clients]
    assert first.series.rounds[0].loss == second.series.rounds[0].loss, "the same initial weights"
    assert first.series.summary.model_digest != second.series.summary.model_digest


KILLED = """
import os, signal, sys
from pathlib import Path
import client.privacy.training
from constellation import RunConfig
from constellation.training import run
from shared.config import from_mapping, load_toml
from shared.events import RoundClosed
class KillsInRoundTwo:
    def write(self, envelope):
        if envelope.event.type == "update-accepted" and envelope.event.server_round == 2:
            os.kill(os.getpid(), signal.SIGKILL)
    def close(self):
        pass
run(from_mapping(load_toml(Path(sys.argv[1])), where="test"), sinks=[KillsInRoundTwo()])
"""


def killed_run(tmp_path: Path, *, target_epsilon: float = 0.0) -> Path:
    noise = 0.0 if target_epsilon else 1.0
    config = replace(
        SMALL, output=str(tmp_path / "runs"), target_epsilon=target_epsilon, noise_multiplier=noise, workers=1
    )
    (tmp_path / "settings.toml").write_text(config.to_toml())
    process = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "settings.toml")], capture_output=True, check=False
    )
    assert process.returncode == -signal.SIGKILL, process.stderr.decode()
    (run_dir,) = (tmp_path / "runs").iterdir()
    return run_dir


@pytest.mark.e2e
def test_a_round_that_a_kill_repeats_is_charged_again(tmp_path: Path) -> None:
    run_dir = killed_run(tmp_path)
    before = {f"client-{index}": steps_in(run_dir, f"client-{index}") for index in range(3)}
    result = run(resume=run_dir)
    a_round = 5  # 100 examples by 20
    assert before == dict.fromkeys(before, 2 * a_round), "rounds 1 and 2 are charged, round 2 was never closed"
    assert result.state == "completed"
    assert {client: steps_in(run_dir, client) for client in before} == dict.fromkeys(before, 4 * a_round)
    assert result.series.privacy is not None
    assert result.series.privacy.steps == 4 * a_round


@pytest.mark.e2e
def test_a_repeated_round_of_a_calibrated_run_costs_the_last_one(tmp_path: Path) -> None:
    run_dir = killed_run(tmp_path, target_epsilon=6.0)
    result = run(resume=run_dir)
    assert result.rejections == {"budget-exhausted": 3}
    assert result.rounds_completed == 3, "the last round keeps the model of the one before"
    assert steps_in(run_dir, "client-0") == 15


@pytest.mark.e2e
def test_a_run_whose_ledgers_are_gone_is_not_resumed(tmp_path: Path) -> None:
    run_dir = killed_run(tmp_path)
    shutil.rmtree(run_dir / "privacy" / "client-1")
    with pytest.raises(CheckpointError, match=r"privacy ledger .*client-1 is missing, and client-1 has trained"):
        run(resume=run_dir)


def test_a_client_whose_ledger_was_edited_is_refused_and_the_others_go_on(tmp_path: Path) -> None:
    class EditsAfterRoundOne(MemorySink):
        def write(self, envelope: object) -> None:
            super().write(envelope)  # type: ignore[arg-type]
            if envelope.event.type == "round-closed" and envelope.event.server_round == 1:
                (run_dir,) = (path for path in tmp_path.iterdir() if path.is_dir())
                ledger = next(
                    path for path in (run_dir / "privacy" / "client-2").glob("*.json") if path.stem != "anchor"
                )
                if "steps" in (text := ledger.read_text()):
                    ledger.write_text(text.replace('"steps": 5', '"steps": 1', 1))

    sink = EditsAfterRoundOne()
    result = run(replace(SMALL, output=str(tmp_path)), sinks=[sink])
    assert result.state == "completed"
    refused = sink.of_type(UpdateRejected)
    assert [(event.client, event.reason, event.server_round) for event in refused] == [
        ("client-2", "privacy-ledger", 2),
        ("client-2", "privacy-ledger", 3),
    ]
    assert "was edited" in refused[0].detail
    assert result.updates_accepted == 7


def test_a_delta_that_is_too_large_for_the_smallest_client_is_refused_before_anything_is_written(
    tmp_path: Path,
) -> None:
    with pytest.raises(ConfigError, match=r"delta must be below 1/n, which is 0.01 for a client of 100 examples"):
        run(replace(SMALL, output=str(tmp_path / "runs"), delta=0.02))
    assert not (tmp_path / "runs").exists()


def test_the_ledgers_are_where_the_run_is_whoever_played_the_client(tmp_path: Path) -> None:
    result = run(replace(SMALL, output=str(tmp_path), num_clients=4, num_rounds=2, workers=2, fraction=0.5))
    folders = sorted(path.name for path in (result.output / "privacy").iterdir())
    trained = sorted(row.client for row in result.series.clients if row.accepted)
    assert folders == trained
    assert os.listdir(tmp_path) == [result.run_id]
