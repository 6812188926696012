"""A real run, a real dashboard, and somebody who kills the dashboard in the middle."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from constellation.reporting import report_to
from constellation.training import run
from monitor.reporting.destination import token_file
from monitor.sinks import read_events
from shared.config import RunConfig
from shared.events import Envelope, RoundClosed
from tests.dashboard_process import DashboardProcess, dashboard_process

CONFIG = RunConfig(dataset="synthetic", num_examples=300, model="linear", num_clients=3, num_rounds=8, workers=1)

pytestmark = pytest.mark.e2e


def kill(dashboard: DashboardProcess) -> None:
    """End all its processes at once, as a machine that runs out of memory does."""
    processes = [psutil.Process(dashboard.process.pid)]
    processes += processes[0].children(recursive=True)
    for process in processes:
        process.kill()
    dashboard.process.wait()
    psutil.wait_procs(processes)


class Saboteur:
    """An event sink that kills the dashboard after one round and starts another after a later one."""

    def __init__(self, stack: ExitStack, output: Path, first: DashboardProcess) -> None:
        self._stack = stack
        self._output = output
        self._first = first
        self.second: DashboardProcess | None = None

    def write(self, envelope: Envelope) -> None:
        match envelope.event:
            case RoundClosed(server_round=2):
                kill(self._first)
            case RoundClosed(server_round=5):
                self.second = self._stack.enter_context(dashboard_process(self._output, self._first.port))

    def close(self) -> None:
        pass


def events_of(dashboard: DashboardProcess, run_id: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    after = 0
    while items := dashboard.get(f"/api/v1/events?run={run_id}&after={after}&limit=200").json["items"]:
        found += [{**{key: item[key] for key in ("seq", "ts", "run", "type")}, **item["data"]} for item in items]
        after = items[-1]["id"]
    return found


def test_a_dashboard_that_is_killed_in_mid_run_changes_nothing_and_misses_nothing(tmp_path: Path) -> None:
    output = tmp_path / "runs"
    output.mkdir()
    with ExitStack() as stack:
        first = stack.enter_context(dashboard_process(output))
        reporting = report_to(first.url, token_file(output / ".constellation" / "token"), output)
        saboteur = Saboteur(stack, output, first)
        result = run(replace(CONFIG, output=str(output)), sinks=[reporting.sink, saboteur], sampler=reporting.sampler)
        assert saboteur.second is not None
        assert events_of(saboteur.second, result.run_id) == list(read_events(result.output / "events.jsonl"))
        shown = saboteur.second.get(f"/api/v1/runs/{result.run_id}").json
    assert (shown["state"], shown["rounds_completed"], shown["origin"]) == ("completed", 8, "terminal")
    plain = run(replace(CONFIG, output=str(tmp_path / "plain")))
    assert (result.output / "model.safetensors").read_bytes() == (plain.output / "model.safetensors").read_bytes()


def test_the_processes_of_a_run_are_shown_with_what_they_use(tmp_path: Path) -> None:
    with dashboard_process(tmp_path) as dashboard:
        reporting = report_to(dashboard.url, token_file(tmp_path / ".constellation" / "token"), tmp_path)
        result = run(replace(CONFIG, output=str(tmp_path)), sinks=[reporting.sink], sampler=reporting.sampler)
        nodes = {node["node"]: node for node in dashboard.get(f"/api/v1/runs/{result.run_id}/snapshot").json["nodes"]}
    assert {"server", "worker-1"} <= set(nodes)
    assert nodes["server"]["rss_bytes"] > 1 << 20
    assert nodes["worker-1"]["kind"] == "worker"
