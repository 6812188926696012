"""The dashboard beside a run: one that serves the folder already, or a process of our own that ends with us.

It starts while torch is imported. Whatever goes wrong with it is said in one sentence, and the training goes on.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from app.control import processes, run_log
from app.control.dashboards import TOKEN_FILE, Dashboard, living_dashboard, state_folder
from constellation.ports import port_for
from constellation.reporting import Reporting, report_to
from monitor.reporting.connection import Connection
from monitor.reporting.destination import parse_destination, token_file
from shared.errors import Unreachable, UsageError

HOST = "127.0.0.1"
LOG_FOLDER = "logs"
READY_S = 3.0  # that the training waits for it, once everything is imported: it is there by then as a rule
_LOOK_S = 0.05
_CALL_S = 2.0
_END_S = 5.0  # for its pages to be told, then it is killed


class OwnDashboard:
    """A dashboard that a run reports to.

    Attributes:
        url: Where it is, or will be; "" when there is none.
        is_ours: We started it, and it ends with us.
    """

    def __init__(self, output: Path, say: Callable[[str], None]) -> None:
        self.output = output
        self.url = ""
        self.is_ours = False
        self._say = say
        self._is_there = False
        self._child: subprocess.Popen[bytes] | None = None
        self._log_dir = Path()

    def start(self, port: int, *, is_wanted: bool) -> None:
        """Find the dashboard of the folder, or start one and go on at once.

        Raises:
            UsageError: The port that somebody named is taken, or the folder cannot be written.
        """
        living = living_dashboard(self.output)
        if living is not None and _answers(living):
            self.url, self._is_there = living.url, True
            return
        chosen = port_for(HOST, port, option="--web-port", is_wanted=is_wanted, say=self._say)
        self._log_dir = state_folder(self.output) / LOG_FOLDER
        self._log_dir.mkdir(mode=0o700, exist_ok=True)
        command = [
            sys.executable, "-m", "constellation", "dashboard", "--output", str(self.output), "--host", HOST,
            "--port", str(chosen), "--end-with", own_identity(),
        ]  # fmt: skip
        log = run_log.open_log(self._log_dir, datetime.now(UTC))
        try:
            self._child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        except OSError as error:
            self._say(f"the dashboard cannot be started: {error.strerror or error}; training goes on without it")
            return
        finally:
            os.close(log)
        self.is_ours, self.url = True, f"http://{HOST}:{chosen}"

    def wait_until_ready(self, limit_s: float = READY_S) -> bool:
        """Wait until it answers, and tell whether it does."""
        if self._is_there or self._child is None:
            return self._is_there
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            if self._child.poll() is not None:
                why = run_log.last_line(self._log_dir) or f"it ended with exit code {self._child.returncode}"
                self._say(f"the dashboard could not be started: {why}; training goes on without it")
                self._child, self.is_ours, self.url = None, False, ""
                return False
            if self._is_ours_at_its_port():
                self._is_there = True
                return True
            time.sleep(_LOOK_S)
        return False

    def login_url(self) -> str:
        """Return a link that signs its first visitor in; "" when the dashboard gives none."""
        connection = Connection(parse_destination(self.url), self._token)
        try:
            reply = connection.post("/internal/login-codes", b"{}", timeout_s=_CALL_S)
        except Unreachable:
            return ""
        finally:
            connection.close()
        found = reply.fields.get("url")
        return found if isinstance(found, str) else ""

    def reporting(self) -> Reporting:
        """Return what reports one run to it."""
        return report_to(self.url, self._token, self.output)

    def stay(self) -> None:
        """Wait until Ctrl-C, or until it ends by itself."""
        if self._child is not None:
            with contextlib.suppress(KeyboardInterrupt):
                self._child.wait()

    def close(self) -> None:
        """End it, if it is ours."""
        child, self._child = self._child, None
        if child is None or child.poll() is not None:
            return
        child.terminate()
        try:
            child.wait(_END_S)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            identity = processes.identify(child.pid)
            processes.kill(processes.family(identity) if identity else [])
            child.wait()

    def _is_ours_at_its_port(self) -> bool:
        """Tell whether the dashboard wrote down that it listens: another process may have taken the port before it."""
        living = living_dashboard(self.output)
        return living is not None and living.url == self.url

    def _token(self) -> str:
        """Return the token, to be shown to the dashboard alone.

        Raises:
            UsageError: It is not there yet.
        """
        if not self._is_there and not self._is_ours_at_its_port():
            raise UsageError("it is still starting")
        return token_file(state_folder(self.output) / TOKEN_FILE)()


@contextmanager
def beside(output: Path, port: int, *, is_wanted: bool, say: Callable[[str], None]) -> Iterator[OwnDashboard]:
    """Have a dashboard for as long as the block lasts.

    Raises:
        UsageError: The port that somebody named is taken, or the folder cannot be written.
    """
    dashboard = OwnDashboard(output, say)
    try:
        dashboard.start(port, is_wanted=is_wanted)
        yield dashboard
    finally:
        dashboard.close()


def own_identity() -> str:
    """Return who we are, as ``--end-with`` takes it."""
    me = processes.identify(os.getpid())
    return f"{me.pid}:{me.create_time!r}" if me else ""


def _answers(dashboard: Dashboard) -> bool:
    try:
        connection = Connection(parse_destination(dashboard.url), lambda: "")
    except UsageError:
        return False
    try:
        return connection.get("/health", timeout_s=_CALL_S).status == 200
    except Unreachable:
        return False
    finally:
        connection.close()
