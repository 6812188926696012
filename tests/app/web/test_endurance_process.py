"""What a real server stands: slow clients, full houses, restarts in the middle of a run, and other dashboards."""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import struct
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import socketio

from shared.errors import UsageError
from tests.dashboard_process import DashboardProcess, dashboard_process
from tests.recorded_events import recorded_run
from tests.socket_viewer import Viewer, watching

NUM_SLOW = 500


def test_five_hundred_clients_that_never_finish_a_request_hold_nobody_up(tmp_path: Path) -> None:
    beginnings = [
        b"", b"G", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ",
        b"POST /api/v1/session HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 60\r\n\r\n{",
        b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET /health HT",
    ]  # fmt: skip
    with dashboard_process(tmp_path, max_viewers=4) as server, ExitStack() as stack:  # 36 threads
        slow = []
        for number in range(NUM_SLOW):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=30))
            connection.sendall(beginnings[number % len(beginnings)])
            slow.append(connection)
        with watching(server.url) as viewer:
            viewer.subscribe("events")
            for number in range(20):
                assert server.get("/api/v1/runs", timeout=5).status == 200
                row = {"seq": number + 1, "ts": 1.0, "run": "healthy", "type": "run-resumed"}
                assert server.report("healthy", [row]).status == 200
            seen = 0
            while seen < 20:
                seen += len(viewer.next()["data"]["items"])
            for connection in slow[::7]:
                connection.sendall(b"x")  # one more byte, and still no request
            assert server.get("/health", timeout=5).status == 200


def test_a_client_that_reads_nothing_costs_others_nothing(tmp_path: Path) -> None:
    with dashboard_process(tmp_path, max_viewers=4) as server, ExitStack() as stack:
        for part in range(4):
            rows = recorded_run(f"big-{part}", num_clients=100, num_rounds=4)
            for start in range(0, len(rows), 500):
                server.report(f"big-{part}", rows[start : start + 500])
        for _ in range(30):  # nearly all threads
            deaf = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=30))
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            deaf.sendall(f"GET /api/v1/runs/big-0/snapshot HTTP/1.1\r\nHost: {server.host}\r\n\r\n".encode() * 4)
        assert server.get("/api/v1/runs", timeout=25).status == 200


def test_a_full_house_says_so_and_has_room_again_when_somebody_goes(tmp_path: Path) -> None:
    with dashboard_process(tmp_path, max_viewers=3) as server:
        viewers = [Viewer(server.url, transports=["websocket"]) for _ in range(3)]
        late = socketio.Client(reconnection=False)
        reasons: queue.Queue[object] = queue.Queue()
        late.on("connect_error", reasons.put)
        with pytest.raises(socketio.exceptions.ConnectionError):
            late.connect(server.url, transports=["websocket"])
        assert reasons.get(timeout=10) == {"message": "full"}
        info = server.get("/api/v1/system/info").json
        assert (info["viewers"], info["viewer_cap"], info["live"]) == (3, 3, False)
        assert server.get("/api/v1/runs").status == 200
        viewers[0].client.disconnect()
        while server.get("/api/v1/system/info").json["viewers"] == 3:
            pass
        with watching(server.url, transports=["websocket"]) as viewer:
            assert viewer.subscribe("overview")["ok"] is True
        for viewer in viewers[1:]:
            viewer.client.disconnect()


def test_connections_that_are_no_viewers_are_bounded_too(tmp_path: Path) -> None:
    with dashboard_process(tmp_path, max_viewers=3) as server:
        statuses = [server.get("/socket.io/?EIO=4&transport=polling").status for _ in range(40)]
        assert statuses.count(200) == 3 + 16
        assert set(statuses[19:]) == {503}
        assert server.get("/api/v1/runs").status == 200


def test_bodies_that_were_refused_and_never_come_hold_nobody_up(tmp_path: Path) -> None:
    with dashboard_process(tmp_path, max_viewers=3) as server, ExitStack() as stack:
        for _ in range(120):
            stranger = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=20))
            head = f"POST /api/v1/session HTTP/1.1\r\nHost: {server.host}\r\nContent-Type: application/json\r\n"
            stranger.sendall(f"{head}Content-Length: 100000\r\n\r\n".encode())
        assert server.get("/api/v1/runs", timeout=4).status == 200


@pytest.mark.parametrize("attack", ["transport=websocket&xsid=1", "transport=websocket&sid=", "transport=polling&sid="])
def test_a_stranger_cannot_keep_every_thread_waiting_for_news(tmp_path: Path, attack: str) -> None:
    with dashboard_process(tmp_path, max_viewers=3) as server, ExitStack() as stack:
        sid = json.loads(server.get("/socket.io/?EIO=4&transport=polling").body[1:])["sid"]
        query = f"EIO=4&{attack}{sid if attack.endswith('&sid=') else ''}"
        upgrade = (
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        )
        for _ in range(80):
            stranger = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=20))
            head = f"GET /socket.io/?{query} HTTP/1.1\r\nHost: {server.host}\r\n"
            stranger.sendall(f"{head}{upgrade if 'websocket' in attack else ''}\r\n".encode())
        assert server.get("/api/v1/runs", timeout=8).status == 200


def test_a_restart_in_the_middle_of_a_run_loses_nothing(tmp_path: Path) -> None:
    rows = recorded_run("lasting", num_clients=4, num_rounds=6, ends="completed")
    half = len(rows) // 2
    with dashboard_process(tmp_path) as server:
        server.report("lasting", rows[:half])
        port, token = server.port, server.token
        cookie = session_of(server)
        with watching(server.url) as viewer:
            assert viewer.subscribe("run:lasting", after=half)["last_seq"] == half
    with dashboard_process(tmp_path, port) as server:
        assert server.token == token
        assert server.get("/api/v1/system/info", headers={"Cookie": cookie}).json["signed_in"] is True
        gap = server.report("lasting", rows[half + 3 :])
        assert (gap.status, gap.json["last_seq"]) == (409, half)
        with watching(server.url) as viewer:
            assert viewer.subscribe("run:lasting", after=half) == {"ok": True, "last_seq": half}
            server.report("lasting", rows[half:])
            update = viewer.next()
            while update["seq"] < len(rows):
                update = viewer.next()
        assert update["data"]["run"]["state"] == "completed"
        events = server.get("/api/v1/events?run=lasting&limit=500").json["items"]
        assert [event["seq"] for event in events] == [row["seq"] for row in rows]


def session_of(server: DashboardProcess) -> str:
    answer = server.post("/api/v1/session", {"code": server.login_url.partition("#code=")[2]})
    return str(answer.headers["Set-Cookie"].partition(";")[0])


def test_a_worker_that_dies_is_replaced_on_the_same_port(tmp_path: Path) -> None:
    with dashboard_process(tmp_path) as server:
        server.report("kept", recorded_run("kept", num_clients=2, num_rounds=1))
        task = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
        (worker,) = map(int, task.read_text().split())
        os.kill(worker, signal.SIGKILL)
        assert server.get("/api/v1/runs/kept").json["state"] == "completed"


def test_a_taken_port_is_said_before_anything_starts(tmp_path: Path) -> None:
    from app.web.serve import ServeOptions, main

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {port} of 127.0.0.1 is in use"):
            main(ServeOptions(output=tmp_path, port=port))
    assert not (tmp_path / ".constellation" / "store.db").exists()
    with pytest.raises(UsageError, match="no address of this machine"):
        main(ServeOptions(output=tmp_path, host="nowhere.invalid", port=0))


class Frames:
    """Counts the bytes of a WebSocket by hand: what is on the wire, and what the frames hold (RFC 6455, sec. 5.2)."""

    def __init__(self, server: DashboardProcess, extensions: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", server.port), timeout=20)
        lines = [
            "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1", f"Host: {server.host}", "Upgrade: websocket",
            "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        ]  # fmt: skip
        if extensions:
            lines.append(f"Sec-WebSocket-Extensions: {extensions}")
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode())
        self._file = self._socket.makefile("rb")
        self.head = b""
        while not self.head.endswith(b"\r\n\r\n"):
            self.head += self._file.readline()
        self.num_bytes = 0

    def send(self, text: str) -> None:
        data, mask = text.encode(), b"\1\2\3\4"
        assert len(data) < 126
        masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(data))
        self._socket.sendall(struct.pack("!BB", 0x81, 0x80 | len(data)) + mask + masked)

    def receive(self) -> tuple[bool, bytes]:
        """Return whether a frame is compressed, and what it holds."""
        first, size = self._file.read(2)
        self.num_bytes += 2
        if size == 126:
            (size,) = struct.unpack("!H", self._file.read(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", self._file.read(8))
        self.num_bytes += size
        return bool(first & 0x40), self._file.read(size)

    def close(self) -> None:
        self._file.close()
        self._socket.close()


def bytes_of_a_run(server: DashboardProcess, run: str, extensions: str) -> tuple[int, int, bytes]:
    """Return (bytes on the wire, messages that were compressed, the handshake) of one catch-up."""
    frames = Frames(server, extensions)
    try:
        frames.receive()  # open
        frames.send("40")
        frames.receive()  # connected
        before, num_compressed = frames.num_bytes, 0
        for _ in range(3):
            frames.send("42" + json.dumps(["subscribe", {"room": f"run:{run}", "after": 0}]))
            is_compressed, _ = frames.receive()
            num_compressed += is_compressed
        return frames.num_bytes - before, num_compressed, frames.head
    finally:
        frames.close()


def test_messages_are_compressed_when_the_browser_offers_it(server: DashboardProcess) -> None:
    server.report("wide", recorded_run("wide", num_clients=40, num_rounds=3))
    plain, num_plain, head = bytes_of_a_run(server, "wide", "")
    assert (num_plain, b"permessage-deflate" in head) == (0, False)
    packed, num_packed, head = bytes_of_a_run(server, "wide", "permessage-deflate; client_max_window_bits")
    assert (num_packed, b"permessage-deflate" in head) == (3, True)
    assert packed * 5 < plain


def redis_url() -> str:
    redis = pytest.importorskip("redis", reason="the redis package is not installed")
    try:
        with redis.Redis(socket_connect_timeout=2) as connection:
            connection.ping()
    except redis.exceptions.RedisError:
        pytest.skip("no Redis at 127.0.0.1:6379")
    return "redis://127.0.0.1:6379/0"


def test_dashboards_over_one_database_share_what_happens(tmp_path: Path) -> None:
    shared: dict[str, Any] = {"message_queue": redis_url(), "database": f"sqlite:///{tmp_path / 'shared.db'}"}
    with (
        dashboard_process(tmp_path / "one", **shared) as one,
        dashboard_process(tmp_path / "two", **shared) as two,
        watching(two.url) as viewer,
    ):
        run = f"shared-{one.port}"
        one.report(run, [{"seq": 1, "ts": 1.0, "run": run, "type": "run-resumed"}])
        assert viewer.subscribe(f"run:{run}", after=1)["ok"] is True
        rows = recorded_run(run, num_clients=2, num_rounds=1)
        one.report(run, rows[1:])
        update = viewer.next()
        while update["seq"] < len(rows):  # the first event may still be told of
            update = viewer.next()
        assert (update["room"], update["data"]["run"]["state"]) == (f"run:{run}", "completed")
