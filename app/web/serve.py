"""The dashboard as a process: gunicorn with one worker of many threads, from a port to a clean end.

gunicorn's arbiter is this process; it forks one worker, which opens the store and starts all threads, and starts
another one should the worker die. Flask's development server is used nowhere.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from gunicorn.app.base import BaseApplication

from app.control.control_room import ControlRoom
from app.control.dashboards import DASHBOARD_FILE, TOKEN_FILE, claimed, state_folder, write_dashboard
from app.control.dashboards import Dashboard as DashboardFile
from app.control.parent_watch import ParentWatch
from app.control.processes import ProcessId, identify
from app.storage.store import Store
from app.storage.values import Ingested
from app.web.auth.access import Access
from app.web.auth.hosts import AllowedHosts
from app.web.auth.token_file import operator_token
from app.web.factory import Dashboard, create_app
from app.web.internal import login_url
from app.web.listening import listen, url_of
from app.web.services import MAX_VIEWERS, Services, WebOptions
from app.web.worker import HeadFirstWorker

SPARE_THREADS = 32  # for requests, beside one thread a viewer
GRACE_S = 4  # for requests under way when the server ends
_OPEN_FILES = 8192


def _say_nothing(url: str, login: str) -> None:
    """Print nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """How to serve.

    ``on_ready`` is called once with the dashboard's address and a one-use login link. ``parent`` is a process with
    which the dashboard ends.
    """

    output: Path
    host: str = "127.0.0.1"
    port: int = 5000  # 0: the system chooses
    database: str = ""  # an SQLAlchemy URL; "" is SQLite beside the runs
    max_viewers: int = MAX_VIEWERS
    message_queue: str = ""
    parallel_runs: int = 1
    parent: ProcessId | None = None
    allowed_hosts: tuple[str, ...] = ()
    proxy_hops: int = 0
    on_ready: Callable[[str, str], None] = _say_nothing


def main(options: ServeOptions) -> int:
    """Serve until SIGTERM or Ctrl-C.

    Raises:
        UsageError: The port is taken, or another dashboard serves this folder.
        KeyStoreError: The token is open to others.
        StoreError: The store cannot be opened.
    """
    with claimed(options.output):
        folder = state_folder(options.output)
        operator_token(folder)
        listener = listen(options.host, options.port)
        try:
            open_store(options).close()  # migrated, or refused with a clear word, before anything is served
            return _run(options, listener)
        finally:
            listener.close()
            with contextlib.suppress(OSError):
                (folder / DASHBOARD_FILE).unlink(missing_ok=True)


def open_store(options: ServeOptions) -> Store:
    """Open the store of an output folder."""
    return Store.open(database_url(options), str(state_folder(options.output).resolve() / "objects"))


def database_url(options: ServeOptions) -> str:
    """Return the database that was asked for, or the one beside the runs."""
    return options.database or f"sqlite:///{state_folder(options.output).resolve() / 'store.db'}"


def _run(options: ServeOptions, listener: socket.socket) -> int:
    _allow_files()
    # gunicorn takes the descriptor over.
    server = _Server(options, url_of(listener), listener.detach())
    try:
        server.run()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    return 0


def _allow_files() -> None:
    """Raise the number of open files as far as is allowed and useful: each viewer is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class _Server(BaseApplication):  # type: ignore[misc] # gunicorn has no types
    """gunicorn, told what it needs by us alone: no file and no variable of its own is read."""

    def __init__(self, options: ServeOptions, url: str, descriptor: int) -> None:
        self._options = options
        self._url = url
        self._descriptor = descriptor
        self._arbiter = identify(os.getpid())
        self._process: _Process | None = None
        super().__init__()

    def load_config(self) -> None:
        """Settings of gunicorn."""
        threads = self._options.max_viewers + SPARE_THREADS
        settings: Mapping[str, Any] = {
            "bind": f"fd://{self._descriptor}",
            "workers": 1,  # rooms and viewers live in one process
            "worker_class": HeadFirstWorker,
            "threads": threads,
            "worker_connections": max(threads + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 256),
            "keepalive": 20,
            "graceful_timeout": GRACE_S,
            "timeout": 60,
            "loglevel": "warning",
            "control_socket_disable": True,
            "forwarded_allow_ips": "",  # ProxyFix believes proxies, when there are any
            "limit_request_line": 8190,
            "proc_name": "constellation-dashboard",
            "post_worker_init": self._ready,
            "worker_int": self._ending,
            "worker_exit": self._ended,
        }
        for name, value in settings.items():
            if name in self.cfg.settings:  # older versions lack some
                self.cfg.set(name, value)

    def load(self) -> Any:
        """Build the app: called in the worker, so its threads and connections are the worker's own."""
        self._process = _Process(self._options, self._url, self._arbiter)
        return self._process.dashboard.app

    def _ready(self, worker: Any) -> None:
        process = self._process
        if process is None or self._arbiter is None:
            return
        write_dashboard(
            self._options.output,
            DashboardFile(pid=self._arbiter.pid, create_time=self._arbiter.create_time, url=self._url),
        )
        if worker.age == 1:
            self._options.on_ready(self._url, login_url(self._url, process.services.access.codes.issue()))

    def _ending(self, _worker: Any) -> None:
        if self._process is not None:
            self._process.begin_to_end()

    def _ended(self, _arbiter: Any, worker: Any) -> None:
        """End the worker for good: what it inherited from this process's stack is not its own to clean up."""
        if os.getpid() != worker.pid:
            return
        if self._process is not None:
            self._process.close()
        ending = sys.exc_info()[1]
        code = ending.code if isinstance(ending, SystemExit) and isinstance(ending.code, int) else 0
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


class _Process:
    """What lives in the worker."""

    def __init__(self, options: ServeOptions, url: str, arbiter: ProcessId | None) -> None:
        self._open = contextlib.ExitStack()
        store = open_store(options)
        self._open.callback(store.close)
        control = ControlRoom.over(
            store,
            options.output,
            report_url=url,
            token_file=(state_folder(options.output) / TOKEN_FILE).resolve(),
            parallel_runs=options.parallel_runs,
            on_ingested=self._ingested,
            on_changed=self._changed,
        )
        self.services = services_of(options, store, control)
        self.dashboard: Dashboard = create_app(self.services)
        self._open.enter_context(self.dashboard.hub)
        self._open.enter_context(control.background)
        if options.parent is not None and arbiter is not None:
            watch = ParentWatch(options.parent, lambda: os.kill(arbiter.pid, signal.SIGTERM))
            watch.start()
            self._open.callback(watch.close)

    def _ingested(self, ingested: Ingested) -> None:
        self.dashboard.hub.ingested(ingested)

    def _changed(self, run_id: str) -> None:
        self.dashboard.hub.run_changed(run_id)

    def begin_to_end(self) -> None:
        """Close the viewers' connections. From a signal's handler, hence a thread: it takes locks."""
        threading.Thread(target=self._disconnect, name="goodbye", daemon=True).start()

    def close(self) -> None:
        """Close everything, in the opposite order."""
        self._open.close()

    def _disconnect(self) -> None:
        for socket_ in list(self.dashboard.socketio.server.eio.sockets.values()):
            with contextlib.suppress(Exception):
                socket_.close(wait=False)


def services_of(options: ServeOptions, store: Store, control: ControlRoom) -> Services:
    """Put together what requests are answered with."""
    folder = state_folder(options.output)
    hosts = AllowedHosts([*options.allowed_hosts, options.host, socket.gethostname(), socket.getfqdn()])
    access = Access(token=operator_token(folder), folder=folder, now=time.time, allowed_hosts=hosts)
    web = WebOptions(
        output=options.output,
        version=metadata.version("constellation-fl"),
        max_viewers=options.max_viewers,
        message_queue=options.message_queue,
        channel=f"constellation-{hashlib.sha256(database_url(options).encode()).hexdigest()[:16]}",
        proxy_hops=options.proxy_hops,
        database=options.database.partition(":")[0].partition("+")[0] or "sqlite",
    )
    return Services(store=store, access=access, options=web, supervisor=control.supervisor, previews=control.previews)
