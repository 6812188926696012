"""The whole way, over real sockets: events come in over HTTP, viewers hear of them over Socket.IO."""

from __future__ import annotations

import json
import queue
from typing import Any

import pytest

from tests.dashboard_process import DashboardProcess
from tests.recorded_events import recorded_run
from tests.socket_viewer import watching


@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_a_viewer_of_a_run_is_told_what_changed(server: DashboardProcess, transport: str) -> None:
    run = f"told-{transport}"
    rows = recorded_run(run, num_clients=3, num_rounds=2)
    server.report(run, rows[:4])
    with watching(server.url, transports=[transport]) as viewer:
        assert viewer.subscribe(f"run:{run}", after=4) == {"ok": True, "last_seq": 4}
        assert server.report(run, rows[4:]).json == {"run": run, "last_seq": len(rows), "accepted": len(rows) - 4}
        update = viewer.next()
    assert (update["room"], update["type"], update["run"], update["seq"]) == (f"run:{run}", "run-delta", run, len(rows))
    snapshot = server.get(f"/api/v1/runs/{run}/snapshot").json
    assert update["data"]["run"] == snapshot["run"]
    assert update["data"]["rounds"] == snapshot["rounds"][1:]  # the initial model was known at event 4


def test_a_viewer_that_comes_back_gets_one_message_with_what_it_missed(server: DashboardProcess) -> None:
    rows = recorded_run("missed", num_clients=3, num_rounds=2)
    server.report("missed", rows)
    with watching(server.url) as viewer:
        assert viewer.subscribe("run:missed", after=1) == {"ok": True, "last_seq": len(rows)}
        update = viewer.next()
        assert update["seq"] == len(rows)
        assert [row["server_round"] for row in update["data"]["rounds"]] == [0, 1, 2]
        assert viewer.subscribe("run:missed", after=len(rows)) == {"ok": True, "last_seq": len(rows)}
        with pytest.raises(queue.Empty):
            viewer.heard.get_nowait()


def test_the_overview_hears_of_runs_and_the_promised_events(server: DashboardProcess) -> None:
    rows = recorded_run("seen", num_clients=2, num_rounds=1)
    with watching(server.url) as viewer:
        viewer.subscribe("overview")
        server.report("seen", rows)
        heard: dict[str, Any] = {}
        while not {"update", "training_started", "training_stopped", "metrics_update", "status_update"} <= heard.keys():
            name, data = viewer.heard.get(timeout=20)
            if "seen" in json.dumps(data):  # the test before may still be told of
                heard[name] = data
    assert heard["update"]["type"] == "runs"
    assert heard["training_started"]["run_id"] == heard["training_stopped"]["run_id"] == "seen"
    assert heard["training_stopped"]["state"] == "completed"


def test_the_events_room_carries_every_event_in_order(server: DashboardProcess) -> None:
    rows = recorded_run("carried", num_clients=2, num_rounds=1)
    with watching(server.url) as viewer:
        viewer.subscribe("events")
        for row in rows:
            server.report("carried", [row])
        seen: list[int] = []
        while len(seen) < len(rows):
            seen += [item["seq"] for item in viewer.next()["data"]["items"] if item["run"] == "carried"]
    assert seen == [row["seq"] for row in rows]


def test_status_and_metrics_can_be_asked_for(server: DashboardProcess) -> None:
    server.report("asked", recorded_run("asked", num_clients=2, num_rounds=1))
    with watching(server.url) as viewer:
        viewer.client.emit("request_status")
        status = viewer.next("status_update")
        viewer.client.emit("request_metrics")
        metrics = viewer.next("metrics_update")
    assert status["num_viewers"] == len(status["viewers"]) >= 1  # the test before may still be leaving
    assert {"socket": "open", "transport": "websocket", "role": "reader"}.items() <= status["viewers"][-1].items()
    assert status["run"]["run_id"] == metrics["run_id"]


@pytest.mark.parametrize(
    "wish", [None, 7, {}, {"room": 5}, {"room": "secret"}, {"room": "run:../x"}, {"room": "x" * 9999}]
)
def test_a_senseless_subscription_is_answered_and_nothing_breaks(server: DashboardProcess, wish: object) -> None:
    with watching(server.url) as viewer:
        assert viewer.client.call("subscribe", wish, timeout=10)["ok"] is False
        assert viewer.subscribe("overview")["ok"] is True


def test_a_room_of_no_run_is_refused_in_words(server: DashboardProcess) -> None:
    with watching(server.url) as viewer:
        answer = viewer.subscribe("run:nobody", after=0)
    assert answer["ok"] is False
    assert "nobody" in answer["error"]
