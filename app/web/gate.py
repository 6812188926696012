"""The outermost layer, before Flask and Socket.IO alike: the Host header, and Socket.IO's own door.

Socket.IO answers its path before Flask sees the request, so what must hold for both stands here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from flask import Response

from app.web.auth.hosts import AllowedHosts
from app.web.headers import SECURITY_HEADERS
from app.web.problems import problem

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

SOCKET_PATH = "/socket.io"
# Connections that have not said yet whether they are viewers, or are being told that it is full.
SPARE_CONNECTIONS = 16


class Gate:
    """Refuses foreign hosts, foreign origins on Socket.IO, and more Socket.IO connections than there are threads."""

    def __init__(
        self, app: WSGIApplication, hosts: AllowedHosts, num_connections: Callable[[], int], max_connections: int
    ) -> None:
        self._app = app
        self._hosts = hosts
        self._num_connections = num_connections
        self._max_connections = max_connections

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer, or let the request through."""
        refusal = self._refusal(environ)
        if refusal is not None:
            for name, value in SECURITY_HEADERS.items():
                refusal.headers.setdefault(name, value)
            return refusal(environ, start_response)
        return self._app(environ, start_response)

    def _refusal(self, environ: WSGIEnvironment) -> Response | None:
        host = str(environ.get("HTTP_HOST", ""))
        if not self._hosts.allows(host):
            return problem(421, "this server does not answer to that Host; name it with --allowed-host to allow it")
        path = str(environ.get("PATH_INFO", ""))
        if path == SOCKET_PATH or path.startswith(f"{SOCKET_PATH}/"):
            return self._socket_refusal(environ, host)
        return None

    def _socket_refusal(self, environ: WSGIEnvironment, host: str) -> Response | None:
        origin = environ.get("HTTP_ORIGIN")
        if origin is not None and not self._hosts.is_own_origin(str(origin), host):
            return problem(403, "this connection comes from the page of another site")
        is_new = "sid=" not in str(environ.get("QUERY_STRING", ""))
        if is_new and self._num_connections() >= self._max_connections:
            answer = problem(503, "full: too many viewers; poll /api/v1/runs/{id}/snapshot instead")
            answer.headers["Retry-After"] = "5"
            return answer
        return None
