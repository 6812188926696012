"""REST over a real store: each route answers, and says in one form what is wrong."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.storage.store import Store
from app.storage.values import RunSource
from tests.app.web.conftest import TOKEN
from tests.recorded_events import recorded_run

OPERATOR = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def run(store: Store) -> str:
    store.ingest("run-1", recorded_run("run-1", num_clients=3, num_rounds=4), RunSource())  # type: ignore[arg-type]
    return "run-1"


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/runs", "/api/v1/runs/run-1", "/api/v1/runs/run-1/snapshot", "/api/v1/runs/run-1/rounds",
        "/api/v1/runs/run-1/rounds/1", "/api/v1/runs/run-1/updates", "/api/v1/runs/run-1/clients",
        "/api/v1/runs/run-1/metrics", "/api/v1/runs/run-1/models", "/api/v1/runs/run-1/config",
        "/api/v1/runs/run-1/logs", "/api/v1/runs/run-1/export?format=json", "/api/v1/runs/compare?ids=run-1",
        "/api/v1/models", "/api/v1/events", "/api/v1/topology", "/api/v1/topology?run=run-1", "/api/v1/config/choices",
        "/api/v1/system/health", "/api/v1/system/ready", "/api/v1/system/info", "/api/status", "/api/metrics",
        "/api/config", "/health", "/openapi/openapi.json",
    ],
)  # fmt: skip
def test_every_question_about_a_run_is_answered_in_json(client: FlaskClient, run: str, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 200
    assert response.mimetype == "application/json"
    assert json.loads(response.data, parse_constant=pytest.fail) is not None


def test_pages_of_a_list_hold_each_item_once(client: FlaskClient, store: Store) -> None:
    ids = [f"run-{number}" for number in range(7)]
    for run_id in ids:
        store.ingest(run_id, recorded_run(run_id, num_clients=1, num_rounds=1), RunSource())  # type: ignore[arg-type]
    seen: list[str] = []
    cursor = ""
    while True:
        page = client.get(f"/api/v1/runs?limit=3&cursor={cursor}").json
        assert page is not None
        seen += [item["run_id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert sorted(seen) == ids


def test_max_points_thins_rounds_and_keeps_the_ends(client: FlaskClient, store: Store) -> None:
    store.ingest("long", recorded_run("long", num_clients=1, num_rounds=40), RunSource())  # type: ignore[arg-type]
    rounds = [row["server_round"] for row in client.get("/api/v1/runs/long/snapshot?max_points=10").json["rounds"]]
    assert len(rounds) <= 10
    assert (rounds[0], rounds[-1]) == (0, 40)


def test_an_export_is_a_table_with_one_row_a_round(client: FlaskClient, run: str) -> None:
    response = client.get("/api/v1/runs/run-1/export?format=csv")
    rows = list(csv.DictReader(io.StringIO(response.text)))
    assert [row["round"] for row in rows] == ["1", "2", "3", "4"]
    assert response.headers["Content-Disposition"] == "attachment; filename=run-1.csv"


def test_a_refused_update_is_found_by_its_reason(client: FlaskClient, store: Store) -> None:
    rows = recorded_run("refused", num_clients=10, num_rounds=4, rejected=0.4)
    store.ingest("refused", rows, RunSource())  # type: ignore[arg-type]
    expected = sum(row["type"] == "update-rejected" and row["reason"] == "norm" for row in rows)
    page = client.get("/api/v1/runs/refused/updates?state=rejected&reason=norm&limit=500").json
    assert expected > 0
    assert len(page["items"]) == expected


def problem_of(response: TestResponse, status: int) -> dict[str, object]:
    assert response.status_code == status, response.text
    assert response.mimetype == "application/problem+json"
    found = response.json
    assert found is not None
    assert found["status"] == status
    assert found["title"]
    assert found["detail"]
    assert "Traceback" not in response.text
    return dict(found)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/v1/runs/nobody", 404), ("/api/v1/nothing", 404), ("/api/v1/runs/run-1/rounds/99", 404),
        ("/api/v1/models/" + "0" * 64, 404), ("/api/v1/models/" + "0" * 64 + "/download", 404),
        ("/api/v1/runs?limit=0", 422), ("/api/v1/runs?limit=x", 422), ("/api/v1/runs?cursor=garbage", 422),
        ("/api/v1/runs?state=dead", 422), ("/api/v1/runs?q=%00", 422),
        ("/api/v1/runs/run-1/snapshot?max_points=1", 422),
        ("/api/v1/events?after=-1", 422), ("/api/v1/events?after=9999999999999999999", 422),
        ("/api/v1/models/xyz", 422), ("/api/v1/runs/compare", 422), ("/api/v1/runs/compare?ids=a,b", 404),
        ("/api/v1/runs/run-1/rounds/999999999999999999999", 422),
    ],
)  # fmt: skip
def test_a_wrong_question_is_a_problem_not_a_crash(client: FlaskClient, run: str, path: str, status: int) -> None:
    problem_of(client.get(path), status)


def test_a_wrong_method_names_the_right_one(client: FlaskClient) -> None:
    response = client.put("/api/v1/runs", headers=OPERATOR)
    problem_of(response, 405)
    assert {"GET", "POST"} <= set(response.headers["Allow"].split(", "))


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{", "application/json", 400), (b"", "application/json", 400), (b"[" * 100_000, "application/json", 400),
        (b'{"config": {"alpha": NaN}}', "application/json", 400), (b'{"name": "\\ud800"}', "application/json", 400),
        (b"\xff\xfe", "application/json", 400), (b"1" * 5_000, "application/json", 400),
        (b"config=1", "application/x-www-form-urlencoded", 415), (b"{}", "text/plain", 415),
        (b"[]", "application/json", 422), (b"null", "application/json", 422),
        (b'{"surprise": 1}', "application/json", 422),
        (b'{"config": {"alpha": [1]}}', "application/json", 422), (b" " * 300_000, "application/json", 413),
    ],
)  # fmt: skip
def test_a_body_that_is_not_what_is_asked_is_refused(client: FlaskClient, body: bytes, kind: str, status: int) -> None:
    problem_of(client.post("/api/v1/config/check", data=body, content_type=kind, headers=OPERATOR), status)


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"alpha": -1.0}, "alpha"), ({"num-rounds": "three"}, "num-rounds"), ({"nun-rounds": 3}, "nun-rounds"),
        ({"strategy": "fedmagic"}, "strategy"), ({"num-clients": 10**30}, "num-clients"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_named_by_its_key(client: FlaskClient, config: dict[str, object], field: str) -> None:
    found = problem_of(client.post("/api/v1/config/check", json={"config": config}, headers=OPERATOR), 422)
    assert [error["field"] for error in found["errors"]] == [field]  # type: ignore[attr-defined]


def test_checked_settings_come_back_as_a_file_and_a_command(client: FlaskClient) -> None:
    response = client.post("/api/v1/config/check", json={"config": {"num-rounds": 7}}, headers=OPERATOR)
    found = response.json
    assert found["config"]["num-rounds"] == 7
    assert "num-rounds = 7" in found["toml"]
    assert "--num-rounds 7" in found["command"]


def test_a_dashboard_without_supervisor_says_that_it_only_shows(client: FlaskClient, run: str) -> None:
    for path in ("/api/v1/runs", "/api/v1/runs/run-1/stop", "/api/start", "/api/stop"):
        found = problem_of(client.post(path, json={}, headers=OPERATOR), 409)
        assert "only shows" in str(found["detail"])


def test_events_are_taken_once_and_a_hole_is_told(client: FlaskClient) -> None:
    rows = recorded_run("told", num_clients=1, num_rounds=1)

    def report(part: list[dict[str, object]]) -> TestResponse:
        return client.post("/internal/events", json={"run": "told", "events": part}, headers=OPERATOR)

    assert report(rows[:5]).json == {"run": "told", "last_seq": 5, "accepted": 5}
    assert report(rows[2:7]).json == {"run": "told", "last_seq": 7, "accepted": 2}
    assert problem_of(report(rows[9:]), 409)["last_seq"] == 7
    assert report(rows[7:]).json == {"run": "told", "last_seq": len(rows), "accepted": len(rows) - 7}
    events = client.get("/api/v1/events?limit=500&run=told").json["items"]
    assert [event["seq"] for event in events] == [row["seq"] for row in rows]


@pytest.mark.parametrize(
    "row",
    [
        {}, {"seq": 0}, {"seq": "1"}, {"seq": 1, "ts": 1, "run": "other", "type": "run-started"},
        {"seq": 10**30, "ts": 1.0, "run": "bad", "type": "x"}, {"seq": 1, "ts": 1e999, "run": "bad", "type": "x"},
        {"seq": 1, "ts": 1.0, "run": "bad", "type": 7}, {"seq": True, "ts": 1.0, "run": "bad", "type": "x"},
    ],
)  # fmt: skip
def test_a_row_that_is_no_event_is_refused_by_its_place(client: FlaskClient, row: dict[str, object]) -> None:
    text = json.dumps({"run": "bad", "events": [row]}).replace("Infinity", "1e999")
    response = client.post("/internal/events", data=text, content_type="application/json", headers=OPERATOR)
    found = problem_of(response, 422)
    assert "events[0]" in str(found["errors"]) or "events.0" in str(found["errors"])


def test_half_a_surrogate_pair_of_one_client_keeps_no_event_out(client: FlaskClient) -> None:
    rows = recorded_run("half", num_clients=3, num_rounds=2, rejected=0.5)
    refused = next(row for row in rows if row["type"] == "update-rejected")
    refused["detail"] = "\ud800 says mallory"
    response = client.post("/internal/events", json={"run": "half", "events": rows}, headers=OPERATOR)
    assert response.json == {"run": "half", "last_seq": len(rows), "accepted": len(rows)}
    page = client.get("/api/v1/runs/half/updates?state=rejected&limit=500")
    assert page.status_code == 200
    assert "says mallory" in page.text


def test_more_rows_than_a_call_may_have_are_refused(client: FlaskClient) -> None:
    row = {"seq": 1, "ts": 1.0, "run": "many", "type": "run-resumed"}
    problem_of(client.post("/internal/events", json={"run": "many", "events": [row] * 1001}, headers=OPERATOR), 422)


def test_samples_of_a_process_come_back_as_its_history(client: FlaskClient, run: str) -> None:
    for ts, cpu in ((1.0, 10.0), (2.0, 20.0)):
        sample = {"node": "server", "kind": "server", "ts": ts, "cpu_percent": cpu, "rss_bytes": 7}
        sent = client.post("/internal/samples", json={"run": run, "samples": [sample]}, headers=OPERATOR)
        assert sent.status_code == 204
    points = client.get("/api/v1/runs/run-1/samples?node=server").json["items"]
    assert [point["cpu_percent"] for point in points] == [10.0, 20.0]
    topology = client.get("/api/v1/topology?run=run-1").json
    assert {node["node"] for node in topology["nodes"]} == {"server", "client-0", "client-1", "client-2"}
    assert len(topology["links"]) == 3


def test_settings_for_the_next_start_are_kept_and_merged(client: FlaskClient) -> None:
    assert client.post("/api/config", json={"num-rounds": 9}, headers=OPERATOR).json["config"]["num-rounds"] == 9
    client.post("/api/config", json={"alpha": 0.25}, headers=OPERATOR)
    config = client.get("/api/config").json["config"]
    assert (config["num-rounds"], config["alpha"]) == (9, 0.25)
    problem_of(client.post("/api/config", json={"alpha": 0}, headers=OPERATOR), 422)
    assert client.get("/api/config").json["config"]["alpha"] == 0.25


def test_prometheus_reads_text_and_others_json(client: FlaskClient, run: str) -> None:
    text = client.get("/metrics").text
    assert 'constellation_run_state{run="run-1",state="completed"} 1.0' in text
    assert "constellation_viewers 0.0" in text
    assert client.get("/metrics", headers={"Accept": "application/json"}).json["run_id"] == "run-1"


def test_a_large_answer_is_compressed_for_those_who_take_it(client: FlaskClient, run: str) -> None:
    plain = client.get("/api/v1/runs/run-1/snapshot")
    packed = client.get("/api/v1/runs/run-1/snapshot", headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    assert "Accept-Encoding" in packed.headers["Vary"]
    assert len(packed.data) * 3 < len(plain.data)


def test_a_model_is_downloaded_by_its_digest(client: FlaskClient, store: Store, tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.numpy")
    import numpy as np

    from shared.crypto.digest import model_digest

    arrays = {"layer.weight": np.arange(6, dtype=np.float32).reshape(2, 3)}
    digest = model_digest(arrays).hex()
    rows = recorded_run("modelled", num_clients=1, num_rounds=1)
    for row in rows:
        if row["type"] == "round-closed":
            row["model_digest"] = digest
            row["model-digest"] = digest
    store.ingest("modelled", [{k: v for k, v in row.items() if k != "model_digest"} for row in rows], RunSource())  # type: ignore[misc]
    path = tmp_path / "model.safetensors"
    path.write_bytes(safetensors.save(arrays))
    store.put_model("modelled", 1, path)
    response = client.get(f"/api/v1/models/{digest}/download")
    assert response.status_code == 200
    assert response.headers["Content-Disposition"] == "attachment; filename=modelled-round-1.safetensors"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert np.array_equal(safetensors.load(response.data)["layer.weight"], arrays["layer.weight"])
