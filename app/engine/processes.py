"""A family of processes: everything that is started here carries a mark, and all that carry it can be ended.

Flower detaches its SuperExec and its apps into sessions of their own: no process group and no tree of parents holds
them all. The environment does: a child inherits it whatever it detaches from. Processes are ended by their ids.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

MARK = "FEDERATION_MARK"  # the variable that holds the mark
_GRACE_S = 8.0  # between asking to end and ending


@dataclass(slots=True, kw_only=True)
class Family:
    """Processes that are started together and end together, also when whoever started them is killed."""

    folder: Path  # of their logs; they run here too
    mark: str = field(default_factory=lambda: secrets.token_hex(16))
    environment: Mapping[str, str] = field(default_factory=dict)  # over this process's own
    _started: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _tether: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        """Start the tether: it ends the family when this process is gone, ``kill -9`` included."""
        command = [sys.executable, "-m", "app.engine.tether", self.mark]
        plain = {name: value for name, value in self.full_environment().items() if name != MARK}
        self._tether = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=plain,
            start_new_session=True,
        )

    def start(self, name: str, command: Sequence[str], *, environment: Mapping[str, str] | None = None) -> Started:
        """Start a process that writes to ``NAME.log``."""
        log_path = self.folder / f"{name}.log"
        with log_path.open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env={**self.full_environment(), **(environment or {})},
                start_new_session=True,  # Ctrl-C is for this process, which ends them in order
            )
        self._started.append(process)
        return Started(name=name, process=process, log_path=log_path)

    def full_environment(self) -> dict[str, str]:
        """Return the environment of the family: this Python's programs first, and our packages importable."""
        here = str(Path(__file__).resolve().parent.parent.parent)
        return {
            **os.environ,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
            "PYTHONPATH": os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH", "")])),
            **self.environment,
            MARK: self.mark,
        }

    def members(self) -> list[psutil.Process]:
        """Find the living processes of the family."""
        return marked(self.mark)

    def end(self) -> None:
        """End all of them: first ask, then insist."""
        sweep(self.mark)
        for process in self._started:
            process.wait()
        if self._tether is not None and self._tether.stdin is not None:
            self._tether.stdin.close()  # it finds nobody left, and ends
            self._tether.wait()


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """One process of a family."""

    name: str
    process: subprocess.Popen[bytes]
    log_path: Path

    @property
    def is_running(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    def last_lines(self, num_lines: int = 20) -> str:
        """Return the end of what it wrote."""
        with self.log_path.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 16 * 1024))
            return "\n".join(log.read().decode(errors="replace").splitlines()[-num_lines:])


def marked(mark: str) -> list[psutil.Process]:
    """Find the living processes with a mark."""
    return [process for process in psutil.process_iter() if _mark_of(process) == mark]


def sweep(mark: str, grace_s: float = _GRACE_S) -> None:
    """End all processes with a mark, also those that are started meanwhile."""
    while family := marked(mark):
        for process in family:
            _quietly(process.terminate)
        _, stubborn = psutil.wait_procs(family, timeout=grace_s)
        for process in stubborn:
            _quietly(process.kill)
        psutil.wait_procs(stubborn, timeout=grace_s)


def _mark_of(process: psutil.Process) -> str | None:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        found: str | None = process.environ().get(MARK)
    except (psutil.Error, OSError):  # gone meanwhile, or another user's
        return None
    return found


def _quietly(end: object) -> None:
    try:
        end()  # type: ignore[operator]
    except psutil.Error:  # it has ended by itself
        return
