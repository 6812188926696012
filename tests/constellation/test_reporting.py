from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from constellation.reporting import report_to, reporting_from
from constellation.training import run
from monitor.reporting.destination import fixed_token
from monitor.sinks import read_events
from shared.config import RunConfig
from shared.errors import UsageError
from tests.monitor.reporting.dashboards import TOKEN, Dashboard, serving

SMALL = RunConfig(dataset="synthetic", num_examples=120, model="linear", num_clients=2, num_rounds=2, workers=2)


def test_a_real_run_reports_its_events_and_its_processes(tmp_path: Path) -> None:
    dashboard = Dashboard()
    with serving(dashboard) as port:
        reporting = report_to(f"http://127.0.0.1:{port}", fixed_token(TOKEN), tmp_path)
        result = run(replace(SMALL, output=str(tmp_path)), sinks=[reporting.sink], sampler=reporting.sampler)
    assert dashboard.events == list(read_events(result.output / "events.jsonl"))
    assert dashboard.events[-1]["type"] == "run-ended"
    assert dashboard.sources[0]["run_dir"] == str(result.output)
    nodes = {sample["node"] for message in dashboard.samples for sample in message["samples"]}
    assert nodes == {"server", "worker-1", "worker-2"}


def test_a_dead_dashboard_changes_nothing_in_the_model(tmp_path: Path) -> None:
    with serving(Dashboard()) as port:
        pass
    reporting = report_to(f"http://127.0.0.1:{port}", fixed_token(TOKEN), tmp_path / "a")
    watched = run(replace(SMALL, output=str(tmp_path / "a")), sinks=[reporting.sink], sampler=reporting.sampler)
    plain = run(replace(SMALL, output=str(tmp_path / "b")))
    assert watched.state == "completed"
    assert (watched.output / "model.safetensors").read_bytes() == (plain.output / "model.safetensors").read_bytes()


def test_the_environment_says_where_to_report(tmp_path: Path) -> None:
    assert reporting_from({}, output=tmp_path) is None
    named = {"CONSTELLATION_REPORT_URL": "http://127.0.0.1:5000", "CONSTELLATION_REPORT_TOKEN_FILE": "token"}
    assert reporting_from(named, output=tmp_path) is not None


@pytest.mark.parametrize(
    ("environment", "part"),
    [
        ({"CONSTELLATION_REPORT_URL": "http://h"}, "TOKEN_FILE"),
        ({"CONSTELLATION_REPORT_URL": "h", "CONSTELLATION_REPORT_TOKEN_FILE": "t"}, "must look like"),
        (
            {
                "CONSTELLATION_REPORT_URL": "http://h",
                "CONSTELLATION_REPORT_TOKEN_FILE": "t",
                "CONSTELLATION_REPORT_ORIGIN": "elsewhere",
            },
            "ORIGIN",
        ),
    ],
)
def test_an_environment_that_cannot_be_used_is_refused(tmp_path: Path, environment: dict[str, str], part: str) -> None:
    with pytest.raises(UsageError, match=part):
        reporting_from(environment, output=tmp_path)
