"""A small real dashboard for tests: it keeps events by the contract, and can be made to misbehave call by call."""

from __future__ import annotations

import gzip
import json
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "operator-token"


class Dashboard:
    """Keeps events by (run, seq), as the store does; survives restarts of its server."""

    def __init__(self) -> None:
        self.lock = threading.Condition()
        self.events: list[dict[str, Any]] = []
        self.samples: list[dict[str, Any]] = []
        self.sources: list[dict[str, Any]] = []
        self.faults: deque[str] = deque()  # one a call, oldest first
        self.calls: list[str] = []  # what each call came to
        self.num_connections = 0
        self.num_compressed = 0
        self.poison: set[int] = set()  # events that are refused
        self.names_rows = True  # in the answer to a call with one
        self.release = threading.Event()  # ends the calls that hang

    @property
    def last_seq(self) -> int:
        return self.events[-1]["seq"] if self.events else 0

    def seqs(self) -> list[int]:
        with self.lock:
            return [event["seq"] for event in self.events]

    def wait_until(self, condition: Callable[[Dashboard], bool], timeout_s: float = 60.0) -> None:
        with self.lock:
            assert self.lock.wait_for(lambda: condition(self), timeout_s), (self.calls[-5:], self.seqs()[-5:])

    def answer(self, path: str, query: dict[str, list[str]]) -> tuple[int, Any]:
        """Answer what a viewer asks of the API."""
        runs = list(dict.fromkeys(event["run"] for event in self.events))
        if path == "/api/v1/runs":
            return 200, {"items": [{"run_id": run} for run in reversed(runs)][:1], "next_cursor": None}
        if path.startswith("/api/v1/runs/"):
            run = path.removeprefix("/api/v1/runs/")
            return (200, {"run_id": run}) if run in runs else (404, {"title": "Not Found"})
        after, run, limit = int(query["after"][0]), query["run"][0], int(query["limit"][0])
        own = ("seq", "ts", "run", "type")
        items = [
            {
                "id": number,
                **{key: event[key] for key in own},
                "data": {key: value for key, value in event.items() if key not in own},
            }
            for number, event in enumerate(self.events, start=1)
            if number > after and event["run"] == run
        ]
        return 200, {"items": items[:limit], "last_id": len(self.events)}

    def ingest(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        rows = body["events"]
        assert 0 < len(rows) <= 1000
        seqs = [row["seq"] for row in rows]
        assert seqs == sorted(set(seqs))
        assert {row["run"] for row in rows} == {body["run"]}
        self.sources.append(body["source"])
        spoiled = [place for place, seq in enumerate(seqs) if seq in self.poison]
        if spoiled:
            field = f"events[{spoiled[0]}].metrics" if self.names_rows else "body"
            return (422 if self.names_rows else 400), {"detail": "no", "errors": [{"field": field, "message": "no"}]}
        if seqs[0] > self.last_seq + 1:
            return 409, {"last_seq": self.last_seq}
        new = [row for row in rows if row["seq"] > self.last_seq]
        self.events += new
        return 200, {"run": body["run"], "last_seq": self.last_seq, "accepted": len(new)}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, dashboard: Dashboard, port: int) -> None:
        self.dashboard = dashboard
        self.open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # cut connections are what is tested

    def cut(self) -> None:
        for sock in list(self.open):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.open.add(self.connection)
        with self.server.dashboard.lock:
            self.server.dashboard.num_connections += 1

    def finish(self) -> None:
        self.server.open.discard(self.connection)
        super().finish()

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        dashboard = self.server.dashboard
        url = urlsplit(self.path)
        with dashboard.lock:
            fault = dashboard.faults.popleft() if dashboard.faults else ""
            status, answer = dashboard.answer(url.path, parse_qs(url.query))
            if fault.isdigit():
                status, answer = int(fault), {"detail": f"told to answer {fault}"}
            dashboard.calls.append(fault or str(status))
            dashboard.lock.notify_all()
        self._send(status, fault.encode() if fault == "html" else json.dumps(answer).encode(), fault)

    def do_POST(self) -> None:
        dashboard = self.server.dashboard
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with dashboard.lock:
            fault = dashboard.faults.popleft() if dashboard.faults else ""
            if self.headers["Content-Encoding"] == "gzip":
                dashboard.num_compressed += 1
                body = gzip.decompress(body)
            status, answer = self._answer(dashboard, json.loads(body), fault)
            dashboard.calls.append(fault or str(status))
            dashboard.lock.notify_all()
        if fault == "hang":
            dashboard.release.wait()
        if fault in ("hang", "cut", "cut-after"):
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        if fault == "not-http":
            self.wfile.write(b"220 mail.example ESMTP\r\n")
            self.close_connection = True
            return
        self._send(status, b"<html>proxy</html>" if fault == "html" else json.dumps(answer).encode(), fault)

    def _answer(self, dashboard: Dashboard, body: dict[str, Any], fault: str) -> tuple[int, dict[str, Any]]:
        if fault.isdigit():
            return int(fault), {"title": "no", "detail": f"told to answer {fault}"}
        if fault in ("cut", "hang", "html", "not-http"):
            return 200, {}
        if fault == "wipe":
            dashboard.events.clear()
        if fault == "nonsense":
            return 200, {"last_seq": -5}
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            return 401, {"title": "Unauthorized"}
        if self.path == "/internal/samples":
            dashboard.samples.append(body)
            return 204, {}
        return dashboard.ingest(body)

    def _send(self, status: int, content: bytes, fault: str) -> None:
        self.send_response(status)
        if status == 204:
            content = b""
        else:
            self.send_header("Content-Length", str(len(content) + (10 if fault == "short" else 0)))
        if fault == "close":
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)
        if fault == "short":
            self.close_connection = True


@contextmanager
def serving(dashboard: Dashboard, port: int = 0) -> Iterator[int]:
    """Serve until the end of the block, then cut all connections; yields the port."""
    server = _Server(dashboard, port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        dashboard.release.set()
        server.shutdown()
        server.server_close()
        server.cut()
        thread.join()
        dashboard.release.clear()
