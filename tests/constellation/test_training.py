"""Whole runs on this machine: they learn, refuse what is forged, and are what they are whatever the machine does."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from safetensors.numpy import load_file

from app.engine.control import Desired
from constellation.training import run
from monitor.sinks import read_events
from shared.config import RunConfig
from shared.errors import CheckpointError, UsageError
from shared.events import Envelope, MemorySink, PhaseEnded, RoundClosed, UpdateAccepted, UpdateRejected

Small = Callable[..., RunConfig]
LIMIT_S = 120.0


def model_bytes(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def test_the_default_demo_learns_real_digits(small: Small) -> None:
    defaults = RunConfig()
    result = run(replace(defaults, output=small().output, key_dir=small().key_dir))
    assert result.state == "completed"
    assert result.rounds_completed == 5
    assert result.accuracy is not None
    assert result.accuracy >= 0.95
    assert (result.updates_accepted, result.updates_rejected) == (15, 0)


def test_a_run_leaves_its_whole_folder(small: Small) -> None:
    result = run(small())
    names = {path.name for path in result.output.iterdir()}
    assert names >= {"config.toml", "events.jsonl", "metrics.csv", "model.safetensors", "report.html", "report.json"}
    figures = json.loads((result.output / "report.json").read_text())
    assert list(figures) == [
        "run_id", "state", "engine", "dataset", "model", "strategy", "num_clients", "num_rounds", "rounds_completed",
        "accuracy", "loss", "updates_accepted", "updates_rejected", "rejections", "seconds_total", "seconds_rounds",
        "output",
    ]  # fmt: skip
    stored = load_file(result.output / "model.safetensors")
    assert all(stored[name].tobytes() == array.tobytes() for name, array in result.arrays.items())
    sequence = [row["seq"] for row in read_events(result.output / "events.jsonl")]
    assert sequence == list(range(1, len(sequence) + 1))


@pytest.mark.parametrize("model", ["linear", "cnn"])
def test_equal_seeds_give_equal_files_whatever_the_number_of_workers(small: Small, model: str) -> None:
    one = run(small(model=model, workers=1))
    three = run(small(model=model, workers=3))
    other = run(small(model=model, workers=2, seed=43))
    assert model_bytes(one.output) == model_bytes(three.output)
    assert model_bytes(one.output) != model_bytes(other.output)
    assert one.accuracy == three.accuracy


@pytest.mark.parametrize(
    ("attack", "reason"),
    [
        ("forge", "bad-signature"),
        ("nan", "non-finite"),
        ("shape", "schema"),
        ("num-examples", "num-examples"),
        ("scale", "norm"),
    ],
)
def test_a_hostile_client_changes_nothing(small: Small, attack: str, reason: str) -> None:
    attacked = run(small(attack=(f"{attack}:1",)))
    without = run(small(attack=("silent:1",)))
    assert attacked.rejections == {reason: 3}
    assert attacked.updates_accepted == 15
    assert without.rejections == {"client-error": 3}
    assert model_bytes(attacked.output) == model_bytes(without.output)


def test_a_replayed_update_is_refused_in_every_round_but_its_own(small: Small) -> None:
    result = run(small(attack=("replay:1",)))
    assert result.updates_accepted == 16  # honest once
    assert result.updates_rejected == 2
    assert set(result.rejections) <= {"wrong-nonce", "wrong-round", "stale-attempt", "replay"}


@pytest.mark.parametrize("attack", ["sign-flip", "label-flip"])
def test_validly_signed_poison_is_accepted_by_the_mean(small: Small, attack: str) -> None:
    attacked, clean = run(small(attack=(f"{attack}:1",))), run(small())
    assert attacked.updates_rejected == 0
    assert model_bytes(attacked.output) != model_bytes(clean.output)


def test_heavily_skewed_honest_clients_pass(small: Small) -> None:
    result = run(small(partition="dirichlet", alpha=0.05, num_clients=20, local_steps=0, local_epochs=1, model="cnn"))
    assert result.updates_rejected == 0
    assert result.updates_accepted == 60


def test_too_few_good_updates_keep_the_old_model_and_say_so(small: Small) -> None:
    result = run(small(attack=("forge:5",), min_valid=2))
    assert [row.kept_old_model for row in result.series.rounds if row.server_round] == [True] * 3
    digests = {row.model_digest for row in result.series.rounds if row.server_round}
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("strategy", "attack"),
    [("fedavg", ()), ("fedavgm", ()), ("fedadam", ()), ("fedavg", ("replay:1",))],  # a replaying client keeps state
)
def test_a_stopped_run_goes_on_to_the_bit_identical_model(small: Small, strategy: str, attack: tuple[str, ...]) -> None:
    config = small(strategy=strategy, attack=attack, fraction=0.5, num_rounds=5)
    whole = run(config)
    stop = StopAfter(2)
    stopped = run(config, control=stop, sinks=[stop])
    assert (stopped.state, stopped.rounds_completed) == ("stopped", 2)
    resumed = run(resume=stopped.output)
    assert (resumed.state, resumed.rounds_completed) == ("completed", 5)
    assert model_bytes(resumed.output) == model_bytes(whole.output)
    assert resumed.updates_accepted == whole.updates_accepted
    assert resumed.rejections == whole.rejections


class StopAfter:
    """Stops a run once so many of its rounds are closed: a sink that sees it, and a control that says so."""

    def __init__(self, rounds: int) -> None:
        self._left = rounds

    def write(self, envelope: Envelope) -> None:
        self._left -= isinstance(envelope.event, RoundClosed)

    def close(self) -> None:
        pass

    def desired(self) -> Desired:
        return Desired.STOP if self._left <= 0 else Desired.RUN


def test_resuming_a_completed_run_changes_nothing(small: Small) -> None:
    done = run(small())
    before = model_bytes(done.output)
    again = run(resume=done.output)
    assert again.state == "completed"
    assert again.rounds_completed == 3
    assert model_bytes(again.output) == before


def test_resuming_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no run to resume"):
        run(resume=tmp_path)


def test_an_engine_of_a_later_version_is_refused_before_anything_is_written(small: Small) -> None:
    with pytest.raises(UsageError, match="--engine local"):
        run(small(engine="ray"))
    assert not Path(small().output).exists()


def test_baselines_and_evaluation_come_with_the_result(small: Small) -> None:
    result = run(small(num_rounds=2, local_steps=0), baselines=True)
    assert result.baselines is not None
    assert set(result.baselines.local_only) == set(range(6))
    # One model on all the data beats six that saw a sixth of it, each skewed.
    assert result.baselines.centralised > result.baselines.local_mean
    assert "baselines" in result.to_json()


def test_events_reach_other_sinks_as_well(small: Small) -> None:
    sink = MemorySink()
    run(small(), sinks=[sink])
    assert len(sink.of_type(RoundClosed)) == 3
    assert len([event for event in sink.of_type(UpdateAccepted) if event.phase == "train"]) == 18
    assert sink.of_type(UpdateRejected) == []


def test_memory_does_not_grow_with_the_registered_clients(small: Small) -> None:
    common = {"dataset": "synthetic", "partition": "iid", "model": "cnn", "local_steps": 0}
    few = Peak()
    run(small(**common, num_examples=1_000, num_clients=100), sinks=[few])
    many = Peak()
    run(small(**common, num_examples=100_000, num_clients=10_000, fraction=0.01), sinks=[many])
    assert many.bytes <= 1.5 * few.bytes


class Peak:
    """The most memory that this process and its workers took: looked at when a cohort's replies are all there."""

    def __init__(self) -> None:
        self.bytes = 0

    def write(self, envelope: Envelope) -> None:
        if isinstance(envelope.event, PhaseEnded | RoundClosed):
            processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
            self.bytes = max(self.bytes, sum(process.memory_full_info().pss for process in processes))

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("strategy", "attack"),
    [("fedavg", ()), ("fedavgm", ()), ("fedadam", ()), ("fedavg", ("replay:1",))],  # a replaying client keeps state
)
def test_a_run_killed_at_any_moment_goes_on_to_the_same_model(
    small: Small, tmp_path: Path, strategy: str, attack: tuple[str, ...]
) -> None:
    config = small(strategy=strategy, attack=attack, fraction=0.5, num_rounds=8, local_steps=20)
    whole = run(config)
    rng = np.random.default_rng(3)
    config_file = tmp_path / "config.toml"
    config_file.write_text(config.to_toml())
    command = [
        sys.executable,
        "run_demo.py",
        "--json",
        "--config",
        str(config_file),
        "--output",
        str(tmp_path / "killed"),
    ]
    folder: Path | None = None
    for _ in range(3):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        folder = _kill_after(process, tmp_path / "killed", int(rng.integers(5, 60)))
        command = [sys.executable, "run_demo.py", "--json", "--resume", str(folder)]
    resumed = run(resume=folder)
    assert resumed.rounds_completed == 8
    assert model_bytes(resumed.output) == model_bytes(whole.output)
    assert resumed.updates_accepted == whole.updates_accepted
    assert resumed.updates_rejected == whole.updates_rejected


def _kill_after(process: "subprocess.Popen[bytes]", output: Path, num_events: int) -> Path:
    """Kill -9 a run once it has written so many events more, or let it end; return its folder."""
    before = _num_events(output)
    while process.poll() is None and _num_events(output) < before + num_events:
        pass
    workers = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.send_signal(signal.SIGKILL)
    process.wait(LIMIT_S)
    _, alive = psutil.wait_procs(workers, timeout=LIMIT_S)
    assert not [worker for worker in alive if worker.status() != psutil.STATUS_ZOMBIE]
    (folder,) = output.iterdir()
    return folder


def _num_events(output: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in output.glob("*/events.jsonl"))
