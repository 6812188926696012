"""Runs of a real dashboard: started over REST, steered, killed, and taken over by the next web server."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.storage.store import Store
from constellation import cli
from monitor.sinks import read_events
from tests.dashboard_process import DashboardProcess, dashboard_process
from tests.sweeping import processes_over, sweep

pytestmark = pytest.mark.e2e

SMALL = {
    "dataset": "synthetic",
    "num-examples": 300,
    "model": "linear",
    "num-clients": 2,
    "batch-size": 32,
    "workers": 1,
}
LONG = {**SMALL, "num-rounds": 100_000}


@pytest.fixture
def output(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "runs"
    sweep(tmp_path)


@pytest.fixture
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    return {"key-dir": str(tmp_path_factory.getbasetemp() / "dashboard-keys")}


def start(dashboard: DashboardProcess, config: dict[str, object]) -> str:
    answer = dashboard.post("/api/v1/runs", {"config": config, "name": "", "start": True}, as_operator=True)
    assert answer.status == 201, answer.body
    return str(answer.json["run_id"])


def act(dashboard: DashboardProcess, run_id: str, action: str) -> int:
    return dashboard.post(f"/api/v1/runs/{run_id}/{action}", as_operator=True).status


def when(dashboard: DashboardProcess, run_id: str, is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Ask until it is so; pytest's timeout ends what never comes."""
    while not is_so(run := dashboard.get(f"/api/v1/runs/{run_id}").json):
        assert not run.get("error"), run["error"]
    return dict(run)


def until(dashboard: DashboardProcess, run_id: str, *states: str) -> dict[str, Any]:
    return when(dashboard, run_id, lambda run: run["state"] in states)


def stored_events(output: Path, run_id: str) -> list[tuple[int, str]]:
    state = output / ".constellation"
    with Store.open(f"sqlite:///{state / 'store.db'}", str(state / "objects")) as store:
        found: list[tuple[int, str]] = []
        after = 0
        while page := store.events(after=after, run=run_id, limit=200):
            found += [(event.seq, event.type) for event in page]
            after = page[-1].id
    return found


def written_events(output: Path, run_id: str) -> list[tuple[int, str]]:
    return [(int(str(row["seq"])), str(row["type"])) for row in read_events(output / run_id / "events.jsonl")]


def run_process(output: Path) -> psutil.Process:
    """Find the one run under way: it leads its session, its workers are forks of it."""
    (leader,) = [process for process in processes_over(output) if is_run(process)]
    return leader


def is_run(process: psutil.Process) -> bool:
    return "demo" in process.cmdline() and os.getsid(process.pid) == process.pid


def kill_server(dashboard: DashboardProcess) -> None:
    """Kill the arbiter and its worker at once, as a machine out of memory would; runs are no part of it."""
    arbiter = psutil.Process(dashboard.process.pid)
    workers = arbiter.children()
    for process in (arbiter, *workers):
        process.kill()
    dashboard.process.wait()
    psutil.wait_procs(workers)


def test_a_run_is_paused_resumed_and_stopped_over_rest(output: Path, settings: dict[str, object]) -> None:
    with dashboard_process(output) as dashboard:
        run_id = start(dashboard, {**LONG, **settings})
        when(dashboard, run_id, lambda run: run["rounds_completed"] >= 1)
        assert act(dashboard, run_id, "pause") == 202
        paused = until(dashboard, run_id, "paused")
        assert paused["reason"].startswith("paused")
        assert act(dashboard, run_id, "pause") == 409
        assert act(dashboard, run_id, "resume") == 202
        when(dashboard, run_id, lambda run: run["rounds_completed"] > paused["rounds_completed"])
        second = start(dashboard, {**SMALL, **settings, "num-rounds": 1})
        waiting = when(dashboard, second, lambda run: run["state"] == "queued")
        assert waiting["reason"].startswith(f"waits for run {run_id} to end")
        assert act(dashboard, run_id, "stop") == 202
        stopped = until(dashboard, run_id, "stopped")
        assert until(dashboard, second, "completed")["accuracy"] is not None
        when(dashboard, second, lambda _: len(models(dashboard, second)) == 1)
    assert stored_events(output, run_id) == written_events(output, run_id)
    assert stopped["error"] == ""
    psutil.wait_procs(processes_over(output))  # each ends by itself, and leaves nobody behind


def models(dashboard: DashboardProcess, run_id: str) -> list[Any]:
    items = dashboard.get(f"/api/v1/runs/{run_id}/models").json["items"]
    return [model for model in items if model["size_bytes"] is not None]


def test_a_killed_web_server_loses_no_event_and_no_run(output: Path, settings: dict[str, object]) -> None:
    with ExitStack() as open_:
        first = open_.enter_context(dashboard_process(output))
        run_id = start(first, {**LONG, **settings})
        before = when(first, run_id, lambda run: run["rounds_completed"] >= 2)
        kill_server(first)
        run = run_process(output)
        seen = len(written_events(output, run_id))
        while len(written_events(output, run_id)) < seen + 20:  # it trains on, with nobody to tell
            pass
        second = open_.enter_context(dashboard_process(output, first.port))
        after = when(second, run_id, lambda run: run["rounds_completed"] > before["rounds_completed"] + 2)
        assert after["state"] == "running"
        assert run.is_running()
        assert act(second, run_id, "stop") == 202
        until(second, run_id, "stopped")
    assert stored_events(output, run_id) == written_events(output, run_id)


def test_a_run_that_ended_while_the_web_server_was_dead_has_ended(output: Path, settings: dict[str, object]) -> None:
    with ExitStack() as open_:
        first = open_.enter_context(dashboard_process(output))
        run_id = start(first, {**SMALL, **settings, "num-rounds": 3})
        run = run_process(output)
        kill_server(first)
        psutil.wait_procs([run])
        second = open_.enter_context(dashboard_process(output))
        until(second, run_id, "completed")
        when(second, run_id, lambda _: len(models(second, run_id)) == 1)
    assert stored_events(output, run_id) == written_events(output, run_id)


def test_a_killed_run_goes_on_to_the_same_bits(output: Path, settings: dict[str, object]) -> None:
    with dashboard_process(output, parallel_runs=1) as dashboard:
        config = {**SMALL, **settings, "num-rounds": 40}
        run_id = start(dashboard, config)
        when(dashboard, run_id, lambda run: run["rounds_completed"] >= 1)
        act(dashboard, run_id, "pause")  # so that it is sure to be killed before its end
        until(dashboard, run_id, "paused")
        leader = run_process(output)
        family = [leader, *leader.children(recursive=True)]
        leader.send_signal(signal.SIGKILL)
        killed = until(dashboard, run_id, "interrupted")
        assert "SIGKILL" in killed["reason"]
        psutil.wait_procs(family)  # no worker is left
        assert act(dashboard, run_id, "resume") == 202
        until(dashboard, run_id, "completed")
        whole = start(dashboard, config)
        until(dashboard, whole, "completed")
        digests = [dashboard.get(f"/api/v1/runs/{name}/models").json["items"][0] for name in (run_id, whole)]
    assert digests[0]["server_round"] == digests[1]["server_round"] == 40
    assert digests[0]["digest"] == digests[1]["digest"]
    assert stored_events(output, run_id) == written_events(output, run_id)


def test_a_run_that_cannot_start_says_why(output: Path) -> None:
    with dashboard_process(output) as dashboard:
        config = {**SMALL, "dataset": "npz:/no/such/file.npz"}
        answer = dashboard.post("/api/v1/runs", {"config": config, "name": "", "start": True}, as_operator=True)
        run_id = answer.json["run_id"]
        while (run := dashboard.get(f"/api/v1/runs/{run_id}").json)["state"] != "failed":
            pass
    assert "/no/such/file.npz" in run["error"]


def test_a_second_dashboard_of_one_folder_is_refused(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with dashboard_process(output) as dashboard:
        assert cli.call(cli.build_app(), ["dashboard", "--output", str(output), "--port", "0"]) == 2
        said = capsys.readouterr().err
        assert f"already at {dashboard.url}; open that one" in said
