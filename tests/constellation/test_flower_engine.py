"""``--engine flower``: real processes on loopback come to what the local engine comes to, and leave nobody behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from app.engine.processes import MARK
from constellation.flower_engine import check_deployable
from constellation.training import run
from monitor.sinks import read_events
from shared.config import RunConfig
from shared.errors import UsageError
from shared.events import MemorySink, RoundClosed, RunEnded, UpdateAccepted

ROOT = Path(__file__).resolve().parent.parent.parent
LIMIT_S = 240


def config_in(folder: Path, **changes: object) -> RunConfig:
    base = RunConfig(
        model="linear", num_clients=2, num_rounds=2, local_steps=4, output=str(folder), key_dir=str(folder / "keys")
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def relatives(mark: str) -> list[psutil.Process]:
    """Find what runs with this mark of ours in its environment, and so everything that our run has started."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get("FLOWER_ENGINE_TEST") == mark:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


@pytest.mark.e2e
@pytest.mark.timeout(LIMIT_S)
def test_a_run_on_flower_comes_to_what_the_local_engine_comes_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWER_ENGINE_TEST", str(tmp_path))
    sink = MemorySink()
    flower = run(config_in(tmp_path / "flower", engine="flower"), sinks=[sink])
    assert relatives(str(tmp_path)) == [psutil.Process()] or relatives(str(tmp_path)) == [], "nobody is left behind"
    local = run(config_in(tmp_path / "local"))
    assert (flower.state, flower.rounds_completed, flower.updates_accepted) == ("completed", 2, 4)
    for name, array in local.arrays.items():
        np.testing.assert_allclose(flower.arrays[name], array, rtol=0, atol=1e-6)
    assert len(sink.of_type(RoundClosed)) == 2, "the events were passed on as they came"
    assert {event.client for event in sink.of_type(UpdateAccepted)} == {"client-0", "client-1"}
    assert sink.of_type(RunEnded)[0].state == "completed"
    assert (flower.output / "report.html").exists()


@pytest.mark.e2e
@pytest.mark.timeout(LIMIT_S)
def test_a_killed_run_leaves_nobody_behind_and_goes_on(tmp_path: Path) -> None:
    config = config_in(tmp_path / "runs", engine="flower", num_rounds=4)
    options = [f"--{key}={value}" for key, value in config.as_flat().items() if _differs(key, value)]
    mark = str(tmp_path)
    demo = subprocess.Popen(
        [sys.executable, str(ROOT / "run_demo.py"), *options, "--json"],
        env={**os.environ, "FLOWER_ENGINE_TEST": mark, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        cwd=tmp_path,
    )
    run_dir = wait_for_round(tmp_path / "runs", demo)
    demo.send_signal(signal.SIGKILL)
    demo.wait()
    deadline = time.monotonic() + 60
    while relatives(mark):
        assert time.monotonic() < deadline, [process.cmdline() for process in relatives(mark)]
        time.sleep(0.2)  # between looks: nothing tells us when the last one is gone
    closed = [row["server-round"] for row in read_events(run_dir / "events.jsonl") if row["type"] == "round-closed"]

    result = run(resume=run_dir)
    assert (result.state, result.rounds_completed) == ("completed", 4)
    rows = list(read_events(run_dir / "events.jsonl"))
    assert [row["first-round"] for row in rows if row["type"] == "run-started"] == [1, max(closed) + 1]
    assert [row["server-round"] for row in rows if row["type"] == "round-closed"] == [1, 2, 3, 4]
    straight = run(config_in(tmp_path / "local", num_rounds=4))
    for name, array in straight.arrays.items():
        np.testing.assert_allclose(result.arrays[name], array, rtol=0, atol=1e-6)


def _differs(key: str, value: object) -> bool:
    return RunConfig().as_flat()[key] != value


def wait_for_round(output: Path, demo: subprocess.Popen[bytes]) -> Path:
    """Wait until a round is closed and return the run's folder."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert demo.poll() is None, "the run ended before it was killed"
        for path in output.glob("*/events.jsonl"):
            if any(row["type"] == "round-closed" for row in read_events(path)):
                return path.parent
        time.sleep(0.05)  # between looks
    raise AssertionError("no round was closed")


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"num_clients": 33}, "at most 32 on one machine"), ({"attack": ("forge:1",)}, "attack is for simulations")],
)
def test_what_only_a_simulation_can_do_is_refused_before_anything_starts(
    tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        check_deployable(config_in(tmp_path, engine="flower", **changes))


def test_the_mark_is_no_setting() -> None:
    assert not MARK.startswith("CONSTELLATION_")
