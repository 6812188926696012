"""Makes worker processes: by forking a clean single-threaded copy of this process, or by starting a new interpreter.

The zygote is forked once, before this process starts threads, when torch is imported and the data is in memory; each
worker is forked from it, also the one that replaces a dead worker when this process has long had threads (a fork of a
process with threads can inherit a lock that nobody will ever release).
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NoReturn, Protocol

from app.engine.frames import connected_pair
from app.engine.worker import Handler, run_worker
from shared.errors import WorkerError

_PR_SET_PDEATHSIG = 1  # prctl(2): the signal to get when the parent dies


@dataclass(frozen=True, slots=True, kw_only=True)
class SpawnTarget:
    """A function that makes a handler in a new interpreter, named so that it can be imported there."""

    name: str  # "pkg.mod:function"
    settings: Mapping[str, object]  # its keyword arguments; JSON values only


class WorkerSource(Protocol):
    """Where worker processes come from."""

    def start_worker(self) -> tuple[socket.socket, int]:
        """Start a worker; return our end of its socket and its process id."""

    def close(self) -> None:
        """End every worker that was started, at once."""


class Zygote:
    """Forks workers from a copy of this process as it was when the zygote was made."""

    def __init__(self, make_handler: Callable[[], Handler]) -> None:
        """Fork the zygote. Call this before threads are started."""
        ours, theirs = socket.socketpair()
        self._lock = threading.Lock()  # one request and its answer at a time on the control socket
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:  # closed by whoever started us
                stream.flush()  # or each child would hold, and print, what is still in the buffer
        self._pid = os.fork()
        if self._pid == 0:
            ours.close()
            _run_zygote(theirs, make_handler)
        theirs.close()
        self._control = ours

    def start_worker(self) -> tuple[socket.socket, int]:
        """Fork a worker.

        Raises:
            WorkerError: The zygote is gone, or the machine has no room for a process.
        """
        ours, theirs = connected_pair()
        try:
            with theirs, self._lock:
                socket.send_fds(self._control, [b"fork"], [theirs.fileno()])
                answer = self._control.recv(32)
        except OSError as error:
            ours.close()
            raise WorkerError(f"a worker process cannot be started: {error}") from error
        if not answer.isdigit():
            ours.close()
            raise WorkerError(
                "a worker process cannot be started: the machine refused to fork; free memory or processes"
            )
        return ours, int(answer)

    def close(self) -> None:
        """Kill the zygote and its workers: they share a process group of their own."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._pid, 0)
        self._control.close()


def _run_zygote(control: socket.socket, make_handler: Callable[[], Handler]) -> NoReturn:
    # A process group of its own: Ctrl-C in the terminal reaches the parent alone, and one signal ends all workers.
    os.setpgid(0, 0)
    _die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps dead workers
    while True:
        try:
            command, descriptors, _, _ = socket.recv_fds(control, 16, 1)
            if not command:
                os._exit(0)
            control.send(_fork_worker(control, descriptors[0], make_handler))
        except OSError:
            os._exit(1)


def _fork_worker(control: socket.socket, descriptor: int, make_handler: Callable[[], Handler]) -> bytes:
    try:
        pid = os.fork()
    except OSError:
        os.close(descriptor)
        return b"refused"
    if pid:
        os.close(descriptor)
        return str(pid).encode()
    status = 1
    try:
        _die_with_parent()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        control.close()
        run_worker(socket.socket(fileno=descriptor), make_handler)
        status = 0
    finally:
        os._exit(status)


def _die_with_parent() -> None:
    """Ask Linux to kill this process when its parent dies, kill -9 included; elsewhere, end-of-file ends it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Spawner:
    """Starts each worker as a new interpreter."""

    def __init__(self, target: SpawnTarget) -> None:
        self._target = target
        # As it is now: who runs other people's apps puts their folders first, where a package may be called like ours.
        self._path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        self._processes: list[subprocess.Popen[bytes]] = []

    def start_worker(self) -> tuple[socket.socket, int]:
        """Start ``python -m app.engine.worker`` on an inherited socket.

        Raises:
            WorkerError: The interpreter cannot be started.
        """
        ours, theirs = connected_pair()
        with theirs:
            arguments = [str(theirs.fileno()), self._target.name, json.dumps(dict(self._target.settings))]
            try:
                process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "app.engine.worker", *arguments],
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                    env={**os.environ, "PYTHONPATH": self._path},
                )
            except OSError as error:
                ours.close()
                raise WorkerError(f"a worker process cannot be started: {error}") from error
        self._processes = [known for known in self._processes if known.poll() is None] + [process]
        return ours, process.pid

    def close(self) -> None:
        """Kill every worker."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()
