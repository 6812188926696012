"""Starts the real dashboard in processes of its own, and says what they cost."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from app.control.dashboards import STATE_FOLDER, TOKEN_FILE, living_dashboard
from monitor.reporting.connection import Connection
from monitor.reporting.destination import parse_destination, token_file

START_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A dashboard that is up."""

    url: str
    token_path: Path
    process: psutil.Process

    def connection(self) -> Connection:
        """Open a connection that may report."""
        return Connection(parse_destination(self.url), token_file(self.token_path))

    def cpu_seconds(self) -> float:
        """Processor time of all its processes so far."""
        return cpu_seconds(self.process)


def cpu_seconds(process: psutil.Process) -> float:
    """Processor time of a process and its living descendants."""
    total = 0.0
    for one in (process, *process.children(recursive=True)):
        try:
            times = one.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system
    return total


@contextmanager
def serving(output: Path, *, max_viewers: int) -> Iterator[Server]:
    """Serve ``output`` with ``constellation dashboard`` on a free port.

    Raises:
        SystemExit: It does not come up.
    """
    command = [sys.executable, "-m", "constellation", "dashboard", "--output", str(output), "--port", "0"]
    log_path = output / "dashboard.log"
    with log_path.open("wb") as log:
        started = subprocess.Popen([*command, "--max-viewers", str(max_viewers)], stdout=log, stderr=log)
        try:
            yield _wait(output, started, log_path)
        finally:
            started.terminate()
            started.wait()


def _wait(output: Path, started: subprocess.Popen[bytes], log_path: Path) -> Server:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and started.poll() is None:
        found = living_dashboard(output)
        if found is not None:
            token_path = output / STATE_FOLDER / TOKEN_FILE
            return Server(url=found.url, token_path=token_path, process=psutil.Process(started.pid))
        time.sleep(0.05)
    sys.exit(f"the dashboard did not come up:\n{log_path.read_text(errors='replace')[-2000:]}")
