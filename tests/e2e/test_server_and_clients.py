"""``run_server.py`` and ``run_client.py`` as typed: over TLS, with enrollment, through a kill of the SuperLink."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from client.supernode.flwr_compat import Fleet, FleetError, NodeUnknown, Refused, Untrusted
from monitor.sinks import read_events
from tests.e2e.stock_federation import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(290)]
ROOT = Path(__file__).resolve().parent.parent.parent
MARK = "SERVER_AND_CLIENTS_TEST"
LIMIT_S = 120


class Terminals:
    """Commands that a person types, each with its own output; ended with the test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.started: dict[str, subprocess.Popen[bytes]] = {}
        self.environment = {
            **os.environ,
            MARK: str(folder),
            "CONSTELLATION_HOME": str(folder / "home"),
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "default",
        }

    def type(self, name: str, script: str, *options: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.started[name] = subprocess.Popen(
                [sys.executable, str(ROOT / script), *options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder, env=self.environment,
            )  # fmt: skip
        return self.started[name]

    def client(self, name: str, *options: str) -> subprocess.Popen[bytes]:
        return self.type(
            name, "run_client.py", "--server-address", f"127.0.0.1:{self.port}", "--client-id", name, *options
        )

    def ask(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "constellation", *arguments],
            check=False, capture_output=True, text=True, cwd=self.folder, env=self.environment, timeout=LIMIT_S,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def processes(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == str(self.folder):
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found

    def wait_for(self, what: Callable[[], object], name: str = "server") -> None:
        deadline = time.monotonic() + LIMIT_S
        while not what():
            assert time.monotonic() < deadline, self.log(name)
            time.sleep(0.1)  # between looks: nothing tells us


@pytest.fixture
def terminals(tmp_path: Path) -> Iterator[Terminals]:
    typed = Terminals(tmp_path)
    try:
        yield typed
    finally:
        for process in typed.processes():
            process.kill()
        for started in typed.started.values():
            started.wait()


def closed_rounds(folder: Path) -> list[int]:
    return [
        int(row["server-round"])  # type: ignore[arg-type]
        for path in folder.glob("runs/*/events.jsonl")
        for row in read_events(path)
        if row["type"] == "round-closed"
    ]


def test_terminals_as_typed_train_over_tls_through_a_kill_of_the_superlink(
    terminals: Terminals, tmp_path: Path
) -> None:
    server = terminals.type(
        "server", "run_server.py", "--dataset", "mnist-sample", "--model", "linear", "--local-steps", "3",
        "--num-rounds", "6", "--min-clients", "2", "--num-clients", "2", "--no-dashboard",
        "--fl-port", str(terminals.port),
    )  # fmt: skip
    terminals.client("client-1", "--dataset", "mnist-sample")  # before the server listens: it waits for it
    terminals.wait_for(lambda: "client-1 is enrolled" in terminals.log("server"))
    strangers_are_refused(terminals, tmp_path)

    token = terminals.ask("token", "--hours", "1").strip()
    terminals.environment["CONSTELLATION_HOME"] = str(tmp_path / "elsewhere")  # as on another machine
    checked = terminals.client("client-2", "--token", token, "--check")
    assert checked.wait(LIMIT_S) == 0, terminals.log("client-2")
    assert re.search(r"ok +certificate", terminals.log("client-2"))
    second = terminals.client("client-2", "--token", token)
    terminals.environment["CONSTELLATION_HOME"] = str(tmp_path / "home")

    terminals.wait_for(lambda: closed_rounds(tmp_path))
    status = json.loads(terminals.ask("status", "--server-address", f"127.0.0.1:{terminals.port}", "--json"))
    assert status["clients"] == ["client-1", "client-2"]
    (superlink,) = [p for p in terminals.processes() if any("flower-superlink" in word for word in p.cmdline())]
    superlink.kill()
    assert server.wait(LIMIT_S + 60) == 0, terminals.log("server")

    assert closed_rounds(tmp_path) == [1, 2, 3, 4, 5, 6], "each round is closed once"
    (run_dir,) = (tmp_path / "runs").iterdir()
    assert json.loads((run_dir / "report.json").read_text())["state"] == "completed"
    accepted = [row["client"] for row in read_events(run_dir / "events.jsonl") if row["type"] == "update-accepted"]
    assert set(accepted) == {"client-1", "client-2"}
    second.send_signal(signal.SIGTERM)
    assert second.wait(LIMIT_S) == 130
    left = [process for process in terminals.processes() if process.pid != terminals.started["client-1"].pid]
    assert all("client.supernode" in " ".join(process.cmdline()) for process in left), "of the server nothing is left"


def strangers_are_refused(terminals: Terminals, tmp_path: Path) -> None:
    """Try what a stranger on the network would try at the federation's port."""
    address = f"127.0.0.1:{terminals.port}"
    authority = tmp_path / "home" / "server" / "tls" / "ca.pem"
    terminals.wait_for(lambda: "the federation listens" in terminals.log("server"))
    stranger = Fleet(address, ec.generate_private_key(ec.SECP256R1()), root_certificates=authority)
    with pytest.raises(Refused):
        stranger.register()
    with pytest.raises(FleetError):
        stranger.activate(30.0)
    with pytest.raises(NodeUnknown):
        stranger.pull(12345)
    stranger.close()

    plain = Fleet(address, ec.generate_private_key(ec.SECP256R1()), insecure=True)
    with pytest.raises(FleetError):
        plain.activate(30.0)
    plain.close()

    distrusting = Fleet(address, ec.generate_private_key(ec.SECP256R1()))  # the system's authorities
    with pytest.raises(Untrusted):
        distrusting.activate(30.0)
    distrusting.close()

    trust = ssl.create_default_context(cafile=str(authority))
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"https://{address}/v1/control/list-runs", data=b"", context=trust, timeout=20)
    with socket.create_connection(("127.0.0.1", terminals.port), timeout=20) as raw:
        raw.sendall(b"POST /v1/control/start-run HTTP/1.1\r\ncontent-length: 0\r\n\r\n")
        assert b"200 OK" not in raw.recv(100)
