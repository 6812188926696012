from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from rich.console import Console

from monitor.reporting.connection import Connection
from monitor.reporting.destination import fixed_token, parse_destination
from monitor.terminal import TerminalView
from monitor.watch import JsonScreen, ViewScreen, Watcher, watch
from shared.errors import NotFound, Unreachable, UsageError
from shared.events import Envelope, Event, ModelEvaluated, RoundClosed, RoundStarted, RunEnded, RunStarted, RunWaiting
from tests.monitor.reporting.dashboards import Dashboard, serving

RUN = "20260727-101500-abcdef"
START = RunStarted(
    config={"dataset": "mnist-sample", "model": "cnn", "strategy": "fedavg", "num-rounds": 2},
    first_round=1,
    clients=["client-1"],
    num_clients=1,
    num_parameters=10,
    workers=1,
)
END = RunEnded(state="completed", rounds_completed=2, seconds=3.0)


def round_of(number: int) -> list[Event]:
    return [
        RoundStarted(server_round=number, attempt=1),
        ModelEvaluated(server_round=number, metrics={"accuracy": number / 4}, seconds=0.1),
        RoundClosed(server_round=number, seconds=1.0, model_digest="00", checkpoint_seconds=0.0),
    ]


def add(dashboard: Dashboard, events: Sequence[Event], run: str = RUN) -> None:
    with dashboard.lock:
        for event in events:
            seq = sum(row["run"] == run for row in dashboard.events) + 1
            dashboard.events.append(json.loads(json.dumps(Envelope(seq=seq, ts=5.0, run=run, event=event).to_json())))


class Waits:
    """Stands in for ``time.sleep``: does the next thing of a script at each second that is waited."""

    def __init__(self, *script: Callable[[], None]) -> None:
        self.script = list(script)
        self.quarters = 0

    def __call__(self, _: float) -> None:
        self.quarters += 1
        if self.quarters % 4 == 0:
            assert self.script, "the watch should have ended"
            self.script.pop(0)()


@contextmanager
def connected(port: int, token: str = "") -> Iterator[Connection]:
    connection = Connection(parse_destination(f"http://127.0.0.1:{port}"), fixed_token(token))
    try:
        yield connection
    finally:
        connection.close()


def seen(port: int, waits: Waits, run: str = "") -> tuple[str, list[str]]:
    """Watch with the plain view; returns what was printed, and what was said beside it."""
    output, said = io.StringIO(), []  # type: ignore[var-annotated]
    with connected(port) as connection, TerminalView(Console(file=output, width=200)) as view:
        watch(Watcher(connection, run), ViewScreen(view, said.append), waits)
    return output.getvalue(), said


def lines_of(port: int, waits: Waits, run: str = "") -> list[Any]:
    rows: list[Any] = []
    with connected(port) as connection:
        watch(Watcher(connection, run), JsonScreen(rows.append, lambda _: None), waits)
    return rows


def test_a_run_under_way_is_shown_to_its_end() -> None:
    dashboard = Dashboard()
    add(dashboard, [START, *round_of(1)])
    with serving(dashboard) as port:
        shown, said = seen(port, Waits(lambda: add(dashboard, round_of(2)), lambda: add(dashboard, [END])))
    assert shown.splitlines()[0] == f"run {RUN}: mnist-sample, cnn, fedavg, 1 client, 2 rounds"
    assert "round 2/2: accuracy 50.0%" in shown
    assert shown.splitlines()[-1].startswith("completed; 2/2 rounds")
    assert said == []
    assert dashboard.num_connections == 1


def test_the_newest_run_is_watched_unless_another_is_named() -> None:
    dashboard = Dashboard()
    add(dashboard, [START, END], "old")
    add(dashboard, [START, END], "new")
    with serving(dashboard) as port:
        assert {row["run"] for row in lines_of(port, Waits())} == {"new"}
        assert {row["run"] for row in lines_of(port, Waits(), "old")} == {"old"}


def test_before_the_first_run_it_waits_and_says_so() -> None:
    dashboard = Dashboard()
    with serving(dashboard) as port:
        shown, said = seen(port, Waits(lambda: None, lambda: add(dashboard, [START, END])))
    assert said == ["no run has been started yet"]
    assert RUN in shown


def test_json_lines_are_the_events_as_the_run_wrote_them_a_newer_kind_too() -> None:
    dashboard = Dashboard()
    add(dashboard, [START, *[RunWaiting(reason=f"{number}") for number in range(450)]])
    dashboard.events.append({"seq": 452, "ts": 1.0, "run": RUN, "type": "from-the-future", "x": [1]})
    add(dashboard, [END])
    with serving(dashboard) as port:
        assert lines_of(port, Waits()) == dashboard.events


def test_a_run_that_was_stopped_and_went_on_is_watched_to_its_last_end() -> None:
    dashboard = Dashboard()
    add(dashboard, [START, *round_of(1), RunEnded(state="stopped", rounds_completed=1, seconds=1.0)])
    add(dashboard, [START, *round_of(2)])
    with serving(dashboard) as port:
        shown, _ = seen(port, Waits(lambda: add(dashboard, [END])))
    assert "stopped" not in shown
    assert shown.splitlines()[-1].startswith("completed")


def test_a_restart_of_the_dashboard_is_lived_through_without_a_gap() -> None:
    dashboard = Dashboard()
    add(dashboard, [START, *round_of(1)])
    first = serving(dashboard)
    port = first.__enter__()
    again = serving(dashboard, port)

    def start_again() -> None:
        add(dashboard, [*round_of(2), END])
        again.__enter__()

    try:
        shown, said = seen(port, Waits(lambda: first.__exit__(None, None, None), lambda: None, start_again))
    finally:
        again.__exit__(None, None, None)
    assert len(said) == 1
    assert said[0].startswith("reconnecting: ")
    assert [line for line in shown.splitlines() if line.startswith("round ")][1].startswith("round 2/2")


def test_a_dashboard_that_was_set_up_anew_is_read_from_the_start() -> None:
    dashboard = Dashboard()
    add(dashboard, [START, *[RunWaiting(reason="x") for _ in range(50)]])

    def wipe() -> None:
        dashboard.events.clear()
        add(dashboard, [START, END])

    with serving(dashboard) as port:
        rows = lines_of(port, Waits(wipe))
    assert [row["type"] for row in rows[-2:]] == ["run-started", "run-ended"]


@pytest.mark.parametrize("fault", ["500", "429", "html", "404"])
def test_a_failure_in_the_middle_is_waited_out(fault: str) -> None:
    dashboard = Dashboard()
    add(dashboard, [START])

    def fail() -> None:
        dashboard.faults.append(fault)
        add(dashboard, [END])

    with serving(dashboard) as port:
        _, said = seen(port, Waits(fail, lambda: None))
    assert len(said) == 1


def test_mistakes_are_said_at_once() -> None:
    dashboard = Dashboard()
    add(dashboard, [START])
    with serving(dashboard) as port:
        with pytest.raises(NotFound, match="knows no run nobodys"):
            lines_of(port, Waits(), "nobodys")
        dashboard.faults.append("401")
        with pytest.raises(UsageError, match="--token-file"):
            lines_of(port, Waits())
        dashboard.faults.append("html")
        with pytest.raises(Unreachable):
            lines_of(port, Waits())
    with pytest.raises(Unreachable):
        lines_of(port, Waits())


@pytest.mark.parametrize("answer", [[], {"items": 5}, {"items": [], "last_id": None}, {"items": "x", "last_id": 1}])
def test_an_answer_of_another_form_is_no_dashboard(answer: object, monkeypatch: pytest.MonkeyPatch) -> None:
    dashboard = Dashboard()
    monkeypatch.setattr(dashboard, "answer", lambda *_: (200, answer))
    with serving(dashboard) as port, pytest.raises(Unreachable), connected(port) as connection:
        Watcher(connection, RUN).page()


def test_hostile_rows_are_passed_over_and_hostile_text_moves_no_cursor(monkeypatch: pytest.MonkeyPatch) -> None:
    dashboard = Dashboard()
    add(dashboard, [START, RunWaiting(reason="\x1b[2J[bold]red[/] \u202e"), END])
    honest = dashboard.answer("/api/v1/events", {"after": ["0"], "run": [RUN], "limit": ["9"]})[1]
    hostile = [None, 7, {"id": "1"}, {"id": 1, "data": None}, {"id": True, "data": {}}, {"id": 1, "data": {"seq": 0}}]
    monkeypatch.setattr(dashboard, "answer", lambda *_: (200, {"items": [*hostile, *honest["items"]], "last_id": 3}))
    with serving(dashboard) as port:
        shown, _ = seen(port, Waits(), RUN)
    assert "waiting: ?[2J[bold]red[/] ?" in shown
    assert "\x1b" not in shown
