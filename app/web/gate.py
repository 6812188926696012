"""The outermost layer, before Flask and Socket.IO alike: the Host header, and Socket.IO's own door.

Socket.IO answers its path before Flask sees the request, so what must hold for both stands here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from flask import Response

from app.web.auth.hosts import AllowedHosts
from app.web.headers import SECURITY_HEADERS
from app.web.problems import problem

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

SOCKET_PATH = "/socket.io"
# Connections that have not said yet whether they are viewers, or are being told that it is full.
SPARE_CONNECTIONS = 16
# Beyond the connections that there may be: polls that end as their connection becomes a WebSocket.
_SPARE_POLLS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wait:
    """A request that keeps a thread for as long as there is nothing to tell: a poll or a WebSocket."""

    sid: str  # "" for a connection that begins
    is_websocket: bool


class Gate:
    """Refuses foreign hosts, foreign origins on Socket.IO, and more Socket.IO connections than there are threads."""

    def __init__(
        self, app: WSGIApplication, hosts: AllowedHosts, num_connections: Callable[[], int], max_connections: int
    ) -> None:
        self._app = app
        self._hosts = hosts
        self._num_connections = num_connections
        self._max_connections = max_connections
        self._lock = threading.Lock()
        self._waits: list[_Wait] = []

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer, or let the request through."""
        refusal = self._refusal(environ)
        if refusal is not None:
            for name, value in SECURITY_HEADERS.items():
                refusal.headers.setdefault(name, value)
            return refusal(environ, start_response)
        if not _is_socket_path(environ) or environ.get("REQUEST_METHOD") != "GET":
            return self._app(environ, start_response)
        with self._waiting(_wait_of(environ)) as may_wait:
            if not may_wait:
                return _full()(environ, start_response)
            return self._app(environ, start_response)  # Socket.IO's is over once it has returned

    @contextmanager
    def _waiting(self, wait: _Wait) -> Iterator[bool]:
        """Have a request wait; tells whether it may: one connection could otherwise keep every thread."""
        with self._lock:
            limit = self._max_connections + (0 if wait.is_websocket else _SPARE_POLLS)
            may_wait = len(self._waits) < limit and not (wait.sid and wait in self._waits)
            if may_wait:
                self._waits.append(wait)
        try:
            yield may_wait
        finally:
            if may_wait:
                with self._lock:
                    self._waits.remove(wait)

    def _refusal(self, environ: WSGIEnvironment) -> Response | None:
        host = str(environ.get("HTTP_HOST", ""))
        if not self._hosts.allows(host):
            return problem(421, "this server does not answer to that Host; name it with --allowed-host to allow it")
        return self._socket_refusal(environ, host) if _is_socket_path(environ) else None

    def _socket_refusal(self, environ: WSGIEnvironment, host: str) -> Response | None:
        origin = environ.get("HTTP_ORIGIN")
        if origin is not None and not self._hosts.is_own_origin(str(origin), host):
            return problem(403, "this connection comes from the page of another site")
        if not _wait_of(environ).sid and self._num_connections() >= self._max_connections:
            return _full()
        return None


def _is_socket_path(environ: WSGIEnvironment) -> bool:
    path = str(environ.get("PATH_INFO", ""))
    return path == SOCKET_PATH or path.startswith(f"{SOCKET_PATH}/")


def _wait_of(environ: WSGIEnvironment) -> _Wait:
    """Read the query as Engine.IO does, or "xsid=1" would be a known connection to us and a new one to it."""
    query = parse_qs(str(environ.get("QUERY_STRING", "")))
    return _Wait(sid=query.get("sid", [""])[0], is_websocket=query.get("transport", [""])[0] == "websocket")


def _full() -> Response:
    answer = problem(503, "full: too many viewers; poll /api/v1/runs/{id}/snapshot instead")
    answer.headers["Retry-After"] = "5"
    return answer
