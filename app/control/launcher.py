"""Starts a run as a process in a session of its own, and knows how those that it started ended."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from app.control import run_log
from app.control.processes import ProcessId, identify
from shared.config import RunConfig
from shared.errors import RunFailed

Command = Callable[[Path], list[str]]

REPORT_URL, REPORT_TOKEN_FILE = "CONSTELLATION_REPORT_URL", "CONSTELLATION_REPORT_TOKEN_FILE"
REPORT_ORIGIN = "CONSTELLATION_REPORT_ORIGIN"


def run_command(run_dir: Path) -> list[str]:
    """Return the command that begins the run prepared in this folder, or goes on with it."""
    return [sys.executable, "-m", "constellation", "demo", "--run-dir", str(run_dir), "--no-dashboard"]


class Launcher:
    """Starts runs. Its processes outlive it; where they are still its children, it learns their exit codes.

    Args:
        command: Makes the command line for a run's folder.
        report_url: Where runs report their events, "" when nowhere.
        token_file: The file with the token they show there.
        environment: What the processes inherit.
    """

    def __init__(
        self,
        command: Command = run_command,
        *,
        report_url: str = "",
        token_file: Path | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self._command = command
        self._environment = environment_of_run(environment, report_url, token_file)
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, run_dir: Path) -> ProcessId:
        """Start the run in ``run_dir``.

        Raises:
            RunFailed: Its log cannot be written, or there is no such program.
        """
        try:
            log = run_log.open_log(run_dir, datetime.now(UTC))
        except OSError as error:
            raise RunFailed(
                f"{run_dir / run_log.LOG_FILE} cannot be written: {error.strerror or error}; free the disk or fix "
                "its rights, then resume"
            ) from error
        try:
            child = subprocess.Popen(
                self._command(run_dir),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,  # Ctrl-C at the dashboard and its end do not reach the run
            )
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise RunFailed(f"the run's process cannot be started: {reason}") from error
        finally:
            os.close(log)
        self._children[child.pid] = child
        return identify(child.pid) or ProcessId(pid=child.pid, create_time=0.0)

    def exit_code(self, pid: int) -> int | None:
        """Return how a process of ours ended, negative for a signal; None while it lives or where it was not ours."""
        child = self._children.get(pid)
        return child.poll() if child is not None else None

    def forget(self, pid: int) -> None:
        """Let go of a process that ended."""
        child = self._children.get(pid)
        if child is not None and child.poll() is not None:
            del self._children[pid]

    def close(self) -> None:
        """Leave the runs alone: they go on, and whoever comes next adopts them."""
        for child in self._children.values():
            child.poll()
            child.returncode = child.returncode if child.returncode is not None else 0  # theirs to end: no warning
        self._children.clear()


def environment_of_run(inherited: Mapping[str, str], report_url: str, token_file: Path | None) -> dict[str, str]:
    """Return a run's environment: the dashboard's own settings would be laid over what a person chose."""
    left_out = {f"CONSTELLATION_{key.replace('-', '_').upper()}" for key in RunConfig().as_flat()}
    left_out |= {REPORT_URL, REPORT_TOKEN_FILE, REPORT_ORIGIN}
    kept = {name: text for name, text in inherited.items() if name not in left_out}
    if report_url and token_file is not None:
        kept |= {REPORT_URL: report_url, REPORT_TOKEN_FILE: str(token_file), REPORT_ORIGIN: "dashboard"}
    return kept | {"PYTHONUNBUFFERED": "1"}  # the log is read while it is written
