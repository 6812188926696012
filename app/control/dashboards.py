"""The dashboard of an output folder: its own folder there, who it is, and that there is only one."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from app.control.processes import ProcessId, is_alive
from monitor.files import write_atomically
from shared.errors import UsageError

if sys.platform != "win32":
    import fcntl

STATE_FOLDER, DASHBOARD_FILE, TOKEN_FILE, LOCK_FILE = ".constellation", "dashboard.json", "token", "lock"
_MAX_BYTES = 4096  # of dashboard.json
_OTHERS = 0o077


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """A dashboard that serves an output folder."""

    pid: int
    create_time: float
    url: str  # as this machine reaches it

    @property
    def process(self) -> ProcessId:
        """The process that serves it."""
        return ProcessId(pid=self.pid, create_time=self.create_time)


def state_folder(output: Path) -> Path:
    """Return the dashboard's folder for ``output``, made when missing; nobody else may read it.

    Raises:
        UsageError: It cannot be made, or is a link or somebody else's.
    """
    folder = output / STATE_FOLDER
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or (hasattr(os, "getuid") and status.st_uid != os.getuid()):
            raise UsageError(f"{folder} is a link or belongs to somebody else; move it away or name another --output")
        if stat.S_IMODE(status.st_mode) & _OTHERS:
            folder.chmod(0o700)
    except OSError as error:
        raise UsageError(
            f"output folder {folder} cannot be written: {error.strerror or error}; name another with --output"
        ) from error
    return folder


def living_dashboard(output: Path) -> Dashboard | None:
    """Return the dashboard that serves this folder now; None when none does, or the file is not one of ours."""
    path = output / STATE_FOLDER / DASHBOARD_FILE
    try:
        status = path.lstat()
        is_ours = stat.S_ISREG(status.st_mode) and (not hasattr(os, "getuid") or status.st_uid == os.getuid())
        if not is_ours or stat.S_IMODE(status.st_mode) & _OTHERS or status.st_size > _MAX_BYTES:
            return None  # a folder from elsewhere could name an address there, which would be shown our token
        found = json.loads(path.read_bytes())
        dashboard = Dashboard(pid=int(found["pid"]), create_time=float(found["create_time"]), url=str(found["url"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return dashboard if is_alive(dashboard.process) else None


def write_dashboard(output: Path, dashboard: Dashboard) -> None:
    """Write down who serves this folder.

    Raises:
        UsageError: It cannot be written.
    """
    path = state_folder(output) / DASHBOARD_FILE
    try:
        write_atomically(path, json.dumps(asdict(dashboard)) + "\n")
        path.chmod(0o600)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror or error}") from error


@contextmanager
def claimed(output: Path) -> Iterator[None]:
    """Be the only dashboard of this folder: two would start the same queued run twice.

    The kernel gives the lock back however the process ends. Processes started meanwhile do not inherit it.

    Raises:
        UsageError: Another dashboard serves it.
    """
    folder = state_folder(output)
    if sys.platform == "win32":
        yield
        return
    descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            other = living_dashboard(output)
            where = f" at {other.url}" if other else ""
            raise UsageError(
                f"a dashboard serves {output} already{where}; open that one, end it, or name another --output"
            ) from None
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(descriptor)
