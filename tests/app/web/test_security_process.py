"""Attacks on a real server process: mallory is a hostile site, a stranger, or a hostile client of a run."""

from __future__ import annotations

import gzip
import json
import re
import signal
import socket
from pathlib import Path

import pytest
import socketio

from tests.dashboard_process import DashboardProcess, dashboard_process
from tests.recorded_events import recorded_run

XSS = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'`${7*7}{{7*7}}"
EVIL = {"Origin": "http://evil.example"}


def sign_in(server: DashboardProcess) -> str:
    """Sign a browser in with a fresh link, and return its cookie."""
    link = server.post("/internal/login-codes", as_operator=True).json["url"]
    answer = server.post("/api/v1/session", {"code": link.partition("#code=")[2]})
    assert answer.status == 204
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(answer.headers["Set-Cookie"].split("; "))
    return answer.headers["Set-Cookie"].partition(";")[0]


def test_the_printed_link_signs_in_once(server: DashboardProcess) -> None:
    assert server.login_url.startswith(f"{server.url}/login#code=")
    code = {"code": server.login_url.partition("#code=")[2]}
    assert server.post("/api/v1/session", code).status == 204
    again = server.post("/api/v1/session", code)
    assert (again.status, again.headers["Content-Type"]) == (401, "application/problem+json")


def test_a_signed_in_browser_changes_things_and_after_signing_out_no_more(server: DashboardProcess) -> None:
    cookie = {"Cookie": sign_in(server), "X-Constellation": "1", "Origin": server.url}
    assert server.get("/api/v1/system/info", headers=cookie).json["signed_in"] is True
    assert server.post("/api/config", {"num-rounds": 2}, headers=cookie).status == 200
    assert server.ask("DELETE", "/api/v1/session", headers=cookie).status == 204
    assert server.post("/api/config", {"num-rounds": 2}, headers=cookie).status == 401


def test_without_a_sign_in_nothing_changes_and_the_answer_says_how_to_sign_in(server: DashboardProcess) -> None:
    changes = [
        ("POST", "/api/v1/runs"), ("POST", "/api/v1/runs/x/stop"), ("POST", "/api/start"), ("POST", "/api/stop"),
        ("POST", "/api/config"), ("POST", "/api/v1/config/check"), ("POST", "/api/v1/previews/partition"),
        ("POST", "/internal/events"), ("POST", "/internal/samples"), ("POST", "/internal/login-codes"),
    ]  # fmt: skip
    for method, path in changes:
        answer = server.ask(method, path, {})
        assert answer.status == 401, path
        assert "Authorization" in answer.json["detail"] or "login link" in answer.json["detail"]
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_cookie_is_not_enough_for_what_programs_report(server: DashboardProcess) -> None:
    cookie = {"Cookie": sign_in(server), "X-Constellation": "1", "Origin": server.url}
    assert server.post("/internal/events", {"run": "x", "events": []}, headers=cookie).status == 401


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1", "http://localhost:1"])
def test_a_foreign_page_cannot_use_a_visitors_cookie(server: DashboardProcess, origin: str) -> None:
    cookie = {"Cookie": sign_in(server), "X-Constellation": "1", "Origin": origin}
    assert server.post("/api/config", {"num-rounds": 3}, headers=cookie).status == 403
    assert server.ask("DELETE", "/api/v1/session", headers=cookie).status == 403
    form = {**cookie, "Content-Type": "text/plain"}
    assert server.ask("POST", "/api/config", b"{}", headers=form).status == 403


def test_no_answer_lets_a_foreign_page_read_it(server: DashboardProcess) -> None:
    for path in ("/api/v1/runs", "/socket.io/?EIO=4&transport=polling", "/"):
        answer = server.ask("OPTIONS", path, headers={**EVIL, "Access-Control-Request-Method": "POST"})
        assert not any(name.lower().startswith("access-control") for name in answer.headers)
        answer = server.get(path, headers=EVIL)
        assert not any(name.lower().startswith("access-control") for name in answer.headers)


def test_a_foreign_origin_gets_no_live_channel(server: DashboardProcess) -> None:
    for transport in ("polling", "websocket"):
        viewer = socketio.Client(reconnection=False)
        with pytest.raises(socketio.exceptions.ConnectionError):
            viewer.connect(server.url, headers=EVIL, transports=[transport])
    assert server.get("/socket.io/?EIO=4&transport=polling", headers=EVIL).status == 403
    sid = json.loads(server.get("/socket.io/?EIO=4&transport=polling").body[1:])["sid"]
    assert server.get(f"/socket.io/?EIO=4&transport=polling&sid={sid}", headers=EVIL).status == 403


def test_a_wrong_token_gets_no_live_channel_and_is_told_why(server: DashboardProcess) -> None:
    for token in ("guess", "", 7, None, ["x"], {"a": 1}):
        viewer = socketio.Client(reconnection=False)
        reasons: list[object] = []
        viewer.on("connect_error", reasons.append)
        if token is None:
            viewer.connect(server.url, auth={"token": None})
            viewer.disconnect()
            continue
        with pytest.raises(socketio.exceptions.ConnectionError):
            viewer.connect(server.url, auth={"token": token})
        assert reasons == [{"message": "unauthorized"}]
    viewer = socketio.Client(reconnection=False)
    viewer.connect(server.url, auth={"token": server.token})
    viewer.disconnect()


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "localhost.evil.example", "a@localhost", ""])
def test_a_name_that_was_rebound_to_this_machine_is_not_answered(server: DashboardProcess, host: str) -> None:
    for path in ("/", "/api/v1/runs", "/static/icon.svg", "/socket.io/?EIO=4&transport=polling", "/docs", "/health"):
        sent = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
        received = server.raw(sent)
        assert received.split(b" ")[1] in (b"421", b"400"), received


def test_a_proxy_that_passes_strangers_on_makes_them_no_locals(server: DashboardProcess) -> None:
    for name in ("X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"):
        assert server.get("/api/v1/runs", headers={name: "127.0.0.1"}).status == 401
        assert server.get("/api/v1/runs", headers={name: "127.0.0.1"}, as_operator=True).status == 200
    viewer = socketio.Client(reconnection=False)
    with pytest.raises(socketio.exceptions.ConnectionError):
        viewer.connect(server.url, headers={"X-Forwarded-For": "127.0.0.1"})


def test_every_answer_carries_the_security_headers(server: DashboardProcess) -> None:
    for path in (
        "/",
        "/runs",
        "/nothing",
        "/api/v1/runs",
        "/api/v1/nothing",
        "/static/nothing.js",
        "/metrics",
        "/docs",
    ):
        headers = server.get(path).headers
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'self'")
        assert "unsafe-eval" not in policy
        assert "unsafe-inline" not in policy or path == "/docs"
        assert "frame-ancestors 'none'" in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
    assert "script-src" not in server.get("/docs").headers["Content-Security-Policy"]  # so default-src holds: 'self'


def test_the_shell_has_no_inline_script_or_style(server: DashboardProcess) -> None:
    for path in ("/", "/docs"):
        page = server.get(path, headers={"Accept": "text/html"}).body.decode()
        assert not re.search(r"<script(?![^>]*\bsrc=)", page)
        assert not re.search(r"\son\w+\s*=|<style|\sstyle=|javascript:", page)
        assert not re.search(r"(?:src|href)=[\"']?(?:https?:)?//", page)


def test_markup_in_names_and_metrics_stays_data(server: DashboardProcess) -> None:
    rows = recorded_run("xss", num_clients=3, num_rounds=2, rejected=0.3)
    text = json.dumps(rows).replace("client-1", json.dumps(XSS)[1:-1])
    hostile = json.loads(text)
    for row in hostile:
        if row["type"] == "update-accepted":
            row["metrics"][XSS] = 1.5
        if row["type"] == "update-rejected":
            row["detail"] = XSS
    assert server.report("xss", hostile).json["accepted"] == len(rows)
    paths = ["snapshot", "clients", "updates?state=rejected", "metrics", "rounds/1", "export?format=json", "export"]
    for path in [
        *(f"/api/v1/runs/xss/{part}" for part in paths),
        "/api/v1/events",
        "/api/v1/topology?run=xss",
        "/metrics",
    ]:
        answer = server.get(path, headers={"Accept": "text/html,*/*"})
        assert answer.status == 200
        kind = answer.headers["Content-Type"].partition(";")[0]
        assert kind in ("application/json", "text/csv", "text/plain"), path  # never text/html
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    names = [client["client"] for client in server.get("/api/v1/runs/xss/clients").json["items"]]
    assert XSS in names
    for path in (f"/runs/{'%3Cscript%3E'}", "/nothing/%3Cscript%3Ealert(1)%3C/script%3E"):
        assert b"<script>" not in server.get(path, headers={"Accept": "text/html"}).body


def test_markup_in_addresses_is_not_reflected(server: DashboardProcess) -> None:
    for path in (
        "/api/v1/runs/%3Cscript%3E", "/api/v1/models/%3Cscript%3E", "/api/v1/runs?state=%3Cscript%3E",
        "/static/%3Cscript%3E.js", "/api/v1/%3Cscript%3E", "/api/v1/runs?cursor=%3Cscript%3E",
    ):  # fmt: skip
        assert b"<script>" not in server.get(path).body


@pytest.mark.parametrize(
    "path",
    [
        "/static/../serve.py", "/static/..%2fserve.py", "/static/%2e%2e/serve.py", "/static/....//serve.py",
        "/static//etc/passwd", "/static/%2fetc%2fpasswd", "/static/..%5cserve.py", "/static/%00",
        "/static/icon.svg%00.js",
        "/docs/css/..%2f..%2f..%2f__init__.py", "/docs/js/../../plugins.py", "/docs/..%2f..%2fetc/x",
        "/api/v1/models/..%2f..%2fstore.db/download", "/api/v1/models/../../../store.db/download",
        "/api/v1/models/%2e%2e%2ftoken/download", "/api/v1/runs/..%2f..%2f.constellation/logs",
        "/api/v1/runs/.constellation/logs", "/api/v1/runs/..%2fx/export", "/api/v1/models/CON/download",
    ],
)  # fmt: skip
def test_no_address_reaches_a_file_outside(server: DashboardProcess, path: str) -> None:
    sent = f"GET {path} HTTP/1.1\r\nHost: {server.host}\r\nConnection: close\r\n\r\n".encode()
    received = server.raw(sent)
    assert received.split(b" ")[1] in (b"400", b"404", b"422"), received
    for secret in (server.token.encode(), b"root:", b"import annotations", b"SQLite format"):
        assert secret not in received


def test_a_link_among_the_objects_gives_nothing_out(server: DashboardProcess, tmp_path: Path) -> None:
    digest = "ab" * 32
    objects = server.output / ".constellation" / "objects"
    objects.mkdir(exist_ok=True)
    (objects / digest).symlink_to(server.output / ".constellation" / "token")
    (objects / f"{digest}.safetensors").symlink_to(server.output / ".constellation" / "token")
    assert server.get(f"/api/v1/models/{digest}/download").status == 404


def test_a_gzip_bomb_is_stopped_at_the_limit(server: DashboardProcess) -> None:
    bomb = gzip.compress(b"\0" * (200 << 20), 9)
    assert len(bomb) < 256 * 1024
    pid = int(Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()[0])
    before = peak_kb(pid)
    sent = {"Content-Encoding": "gzip"}
    assert server.ask("POST", "/internal/events", bomb, headers=sent, as_operator=True).status == 413
    assert peak_kb(pid) - before < 50 * 1024
    for body in (b"no gzip", gzip.compress(b"{}")[:-4], gzip.compress(b"{}") + b"more", b""):
        assert server.ask("POST", "/internal/events", body, headers=sent, as_operator=True).status in (400, 422)
    sent = {"Content-Encoding": "br"}
    assert server.ask("POST", "/internal/events", b"{}", headers=sent, as_operator=True).status == 415


def peak_kb(pid: int) -> int:
    """Return the most memory a process ever had."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def test_compressed_reports_are_taken(server: DashboardProcess) -> None:
    rows = recorded_run("packed", num_clients=2, num_rounds=1)
    body = gzip.compress(json.dumps({"run": "packed", "events": rows}).encode())
    answer = server.ask("POST", "/internal/events", body, headers={"Content-Encoding": "gzip"}, as_operator=True)
    assert answer.json["accepted"] == len(rows)


def test_a_body_that_is_too_large_is_refused_before_it_is_sent(server: DashboardProcess) -> None:
    head = (
        f"POST /internal/events HTTP/1.1\r\nHost: {server.host}\r\nAuthorization: Bearer {server.token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {1 << 40}\r\nConnection: close\r\n\r\n"
    )
    assert server.raw(head.encode()).split(b" ")[1] == b"413"


def test_a_stranger_cannot_make_the_server_wait_for_a_body(server: DashboardProcess) -> None:
    for head in ("Content-Length: 100000", "Transfer-Encoding: chunked"):
        sent = (
            f"POST /api/v1/session HTTP/1.1\r\nHost: {server.host}\r\nContent-Type: application/json\r\n{head}\r\n"
            "Connection: close\r\n\r\n"
        )
        assert server.raw(sent.encode()).split(b" ")[1] in (b"411", b"413")


def test_the_token_is_never_told(server: DashboardProcess) -> None:
    for path in ("/", "/api/v1/system/info", "/api/v1/runs", "/metrics", "/openapi/openapi.json", "/api/config"):
        assert server.token.encode() not in server.get(path).body
    mode = (server.output / ".constellation" / "token").stat().st_mode
    assert mode & 0o077 == 0


def test_the_dashboards_file_tells_who_serves(server: DashboardProcess) -> None:
    path = server.output / ".constellation" / "dashboard.json"
    found = json.loads(path.read_text())
    assert (found["pid"], found["url"]) == (server.process.pid, server.url)
    assert path.stat().st_mode & 0o077 == 0


def test_the_process_holds_neither_torch_nor_flower(server: DashboardProcess) -> None:
    server.get("/api/v1/config/choices")
    for pid in [server.process.pid, *children(server.process.pid)]:
        maps = Path(f"/proc/{pid}/maps").read_text()
        assert "libtorch" not in maps
        assert "/grpc/" not in maps  # flwr's
        assert "libpython" in maps or "python" in maps


def children(pid: int) -> list[int]:
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_with_open_pages(tmp_path: Path, sign: signal.Signals) -> None:
    with dashboard_process(tmp_path) as server:
        viewer = socketio.Client(reconnection=False)
        viewer.connect(server.url, transports=["websocket"])
        polling = socketio.Client(reconnection=False)
        polling.connect(server.url, transports=["polling"])
        worker = children(server.process.pid)[0]
        assert server.end(sign) == 0
        assert not Path(f"/proc/{worker}").exists()
        assert not (tmp_path / ".constellation" / "dashboard.json").exists()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port))
        viewer.disconnect()
        polling.disconnect()
