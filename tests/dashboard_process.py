"""A real dashboard in a process of its own, as tests see it: an address, a token, and plain HTTP."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
_PROGRAM = """
import sys
from pathlib import Path
from app.web.serve import ServeOptions, main
output, port, extra = Path(sys.argv[1]), int(sys.argv[2]), eval(sys.argv[3])
sys.exit(main(ServeOptions(output=output, port=port, on_ready=lambda *urls: print(*urls, flush=True), **extra)))
"""


@dataclass(frozen=True, kw_only=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(kw_only=True)
class DashboardProcess:
    output: Path
    process: subprocess.Popen[str]
    url: str
    login_url: str
    token: str = field(repr=False)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def ask(
        self, method: str, path: str, body: object = None, *, headers: Mapping[str, str] | None = None,
        as_operator: bool = False, timeout: float = 30,
    ) -> Answer:  # fmt: skip
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"Content-Type": "application/json"} if data is not None else {}
        if as_operator:
            sent["Authorization"] = f"Bearer {self.token}"
        request = urllib.request.Request(self.url + path, data=data, method=method, headers={**sent, **(headers or {})})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect())
        try:
            with opener.open(request, timeout=timeout) as response:
                return Answer(status=response.status, headers=response.headers, body=response.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(status=error.code, headers=error.headers, body=error.read())

    def get(self, path: str, **more: Any) -> Answer:
        return self.ask("GET", path, **more)

    def post(self, path: str, body: object = None, **more: Any) -> Answer:
        return self.ask("POST", path, {} if body is None else body, **more)

    def report(self, run: str, rows: list[dict[str, object]]) -> Answer:
        """Send events as a process that trains does."""
        return self.post("/internal/events", {"run": run, "events": rows}, as_operator=True)

    def raw(self, sent: bytes, *, timeout: float = 30) -> bytes:
        """Send bytes as they are, and return all that comes back until the server closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as connection:
            connection.sendall(sent)
            received = b""
            while chunk := connection.recv(65536):
                received += chunk
        return received

    def end(self, sign: int = signal.SIGTERM) -> int:
        """Ask the process to end, and return its exit code."""
        self.process.send_signal(sign)
        return self.process.wait(timeout=30)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


@contextmanager
def dashboard_process(output: Path, port: int = 0, **options: object) -> Iterator[DashboardProcess]:
    """Start a dashboard over ``output``, and end it afterwards."""
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, str(output), str(port), repr(options)],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        urls = process.stdout.readline().split()
        assert len(urls) == 2, f"the dashboard did not start (exit code {process.wait(timeout=30)})"
        yield DashboardProcess(
            output=output, process=process, url=urls[0], login_url=urls[1],
            token=(output / ".constellation" / "token").read_text().strip(),
        )  # fmt: skip
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(timeout=30)
        finally:
            process.kill()
            if process.stdout is not None:
                process.stdout.close()
            process.wait()
