"""The HTTPS service that clients enroll at: small, on a port of its own, apart from the SuperLink's.

``GET /authority`` gives the authority's certificate, which a client holds against its invitation before it says
anything. ``POST /enroll`` and ``GET /status`` want the invitation's secret.
"""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Protocol

from app.joining.book import EnrollRefused
from app.joining.front_door import server_context
from shared.errors import ConstellationError
from shared.joining import EnrollAnswer, EnrollRequest, parse

_log = logging.getLogger(__name__)
_MAX_BODY_BYTES = 64 * 1024  # an enrollment is 2 kB
_MAX_DRAINED_BYTES = 1024 * 1024
_TIMEOUT_S = 15.0  # for a whole request: whoever sends slower keeps a thread from others
_MAX_THREADS = 32  # requests at a time


class Desk(Protocol):
    """What the service asks of the server."""

    def is_valid(self, secret: str) -> bool:
        """Tell whether a secret lets somebody in."""

    def enroll(self, request: EnrollRequest, secret: str) -> EnrollAnswer:
        """Enroll a client.

        Raises:
            ConstellationError: Not as it asks.
        """

    def status(self) -> Mapping[str, object]:
        """Return what the federation is doing."""


class EnrollmentService:
    """Serves in threads of its own until it is closed."""

    def __init__(self, host: str, port: int, *, certificate: Path, key: Path, authority: Path, desk: Desk) -> None:
        """Listen; the socket is wrapped in TLS in the thread of each connection.

        Raises:
            OSError: The port cannot be used.
        """
        self._server = _Server((host, port), _handler(desk, authority.read_bytes()))
        self._server.context = server_context(certificate, key)
        self._thread = threading.Thread(target=self._server.serve_forever, name="enrollment", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    context: object = None

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._slots = threading.BoundedSemaphore(_MAX_THREADS)
        super().__init__(address, handler)

    def process_request_thread(self, request: object, client_address: object) -> None:
        """Shake hands and serve; who comes when all threads are busy is turned away."""
        if not self._slots.acquire(blocking=False):
            self.shutdown_request(request)  # type: ignore[arg-type]
            return
        try:
            request.settimeout(_TIMEOUT_S)  # type: ignore[attr-defined]
            with (
                _cut_off_when_late(request),  # type: ignore[arg-type]
                self.context.wrap_socket(  # type: ignore[attr-defined]
                    request, server_side=True, do_handshake_on_connect=False
                ) as wrapped,
            ):
                wrapped.do_handshake()
                super().process_request_thread(wrapped, client_address)
        except OSError:  # no TLS, or whoever it was went away
            _log.debug("a connection to the enrollment service failed", exc_info=True)
        finally:
            self._slots.release()

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 - the standard's names
        """Log what went wrong; a client that goes away is nothing to tell of."""
        _log.debug("a request to the enrollment service failed", exc_info=True)


@contextlib.contextmanager
def _cut_off_when_late(connection: socket.socket) -> Iterator[None]:
    """End a connection when its time is over.

    A socket's timeout is one of each read: whoever sends a byte now and then would never be late.
    """
    with connection.dup() as same:  # TLS takes the other one over

        def cut_off() -> None:
            with contextlib.suppress(OSError):
                same.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(_TIMEOUT_S, cut_off)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


def _handler(desk: Desk, authority: bytes) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _TIMEOUT_S
        server_version, sys_version = "enrollment", ""

        def do_GET(self) -> None:
            if self.path == "/authority":
                self._send(200, authority, "application/x-pem-file")
            elif self.path == "/status":
                self._answer(desk.status)
            else:
                self._refuse(404, "there is nothing here")

        def do_POST(self) -> None:
            if self.path != "/enroll":
                self._refuse(404, "there is nothing here")
                return
            length = self.headers.get("content-length", "")
            if not length.isdecimal() or int(length) > _MAX_BODY_BYTES:
                self.rfile.read(
                    min(int(length), _MAX_DRAINED_BYTES) if length.isdecimal() else 0
                )  # so that it hears us
                self._refuse(413, "an enrollment is smaller, and says how long it is")
                return
            body = self.rfile.read(int(length))
            self._answer(lambda: asdict(desk.enroll(parse(EnrollRequest, body), self._secret())))

        def _answer(self, make: Callable[[], Mapping[str, object]]) -> None:
            if not desk.is_valid(self._secret()):
                self._refuse(
                    401, "the token is not known, used up or has expired; ask for another: constellation token"
                )
                return
            try:
                answer = dict(make())
            except EnrollRefused as error:
                self._refuse(409, str(error))
            except ConstellationError as error:
                self._refuse(400, str(error))
            except (ValueError, RecursionError) as error:
                self._refuse(400, f"this is no enrollment: {error}")
            else:
                self._send(200, json.dumps(answer).encode(), "application/json")

        def _secret(self) -> str:
            scheme, _, secret = self.headers.get("authorization", "").partition(" ")
            return secret if scheme == "Bearer" else ""

        def _refuse(self, status: int, sentence: str) -> None:
            self._send(status, json.dumps({"error": sentence}).encode(), "application/json")

        def _send(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.send_header("connection", "close")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the standard's name
            _log.debug(format, *args)

    return Handler
