"""One HTTP connection that is kept open between calls; each call ends in a reply or in ``Unreachable``."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field

from monitor.reporting.destination import Destination, Token
from shared.errors import Unreachable, UsageError
from shared.events import JsonValue

GZIP_ABOVE_BYTES = 4096  # below, compressing costs more than it saves on a loopback or a LAN
MAX_REPLY_BYTES = 8 * 1024 * 1024  # a server that sends more is not ours, and must not fill this process's memory
_GZIP_LEVEL = 1  # three quarters of what the best level saves, at a tenth of its time


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a server answered."""

    status: int
    fields: Mapping[str, JsonValue] = field(default_factory=dict)  # of the JSON object; empty when it sent none
    retry_after_s: float = 0.0

    @property
    def detail(self) -> str:
        """What a problem+json answer says, "" when it says nothing."""
        found = self.fields.get("detail") or self.fields.get("title")
        return found if isinstance(found, str) else ""


class Connection:
    """Calls one server, one call at a time; ``abort`` alone may come from another thread."""

    def __init__(self, destination: Destination, token: Token) -> None:
        self.destination = destination
        self._token = token
        self._http: http.client.HTTPConnection | None = None
        self._is_aborted = False

    def post(self, path: str, body: bytes, *, timeout_s: float) -> Reply:
        """Send a JSON body, compressed when it is large.

        Raises:
            Unreachable: There was no answer.
        """
        headers = {"Content-Type": "application/json"}
        if len(body) > GZIP_ABOVE_BYTES:
            body = gzip.compress(body, _GZIP_LEVEL, mtime=0)
            headers["Content-Encoding"] = "gzip"
        return self._call("POST", path, body, headers, timeout_s)

    def get(self, path: str, *, timeout_s: float) -> Reply:
        """Ask for a JSON object.

        Raises:
            Unreachable: There was no answer.
        """
        return self._call("GET", path, None, {"Accept": "application/json"}, timeout_s)

    def close(self) -> None:
        """Close the connection; the next call opens one."""
        opened, self._http = self._http, None
        if opened is not None:
            with contextlib.suppress(OSError):
                opened.close()

    def abort(self) -> None:
        """Make a call that is under way in another thread fail at once, and every later one."""
        self._is_aborted = True
        opened = self._http
        sock = opened.sock if opened is not None else None
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _call(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], timeout_s: float) -> Reply:
        was_open = self._http is not None
        try:
            return self._try(method, path, body, headers, timeout_s)
        except Unreachable:
            if not was_open or self._is_aborted:
                raise
        # The server may have closed an idle connection just as we wrote: what we send may be sent twice.
        return self._try(method, path, body, headers, timeout_s)

    def _try(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], timeout_s: float) -> Reply:
        if self._is_aborted:
            raise Unreachable("the connection was given up")
        try:
            opened = self._opened(timeout_s)
            token = self._token()
            authorization = {"Authorization": f"Bearer {token}"} if token else {}
            opened.request(method, self.destination.prefix + path, body, {**headers, **authorization})
            response = opened.getresponse()
            content = response.read(MAX_REPLY_BYTES + 1)
            if response.will_close or not response.isclosed():
                self.close()
        except (OSError, http.client.HTTPException, ValueError, UsageError) as error:
            self.close()
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise Unreachable(why or type(error).__name__) from error
        if len(content) > MAX_REPLY_BYTES:
            self.close()
            raise Unreachable(f"the answer is larger than {MAX_REPLY_BYTES} bytes")
        retry_after = response.headers.get("Retry-After", "")
        return Reply(
            status=response.status,
            fields=_object(content),
            retry_after_s=float(retry_after) if retry_after.isascii() and retry_after.isdigit() else 0.0,
        )

    def _opened(self, timeout_s: float) -> http.client.HTTPConnection:
        if self._http is None:
            kind = http.client.HTTPSConnection if self.destination.scheme == "https" else http.client.HTTPConnection
            opened = kind(self.destination.host, self.destination.port, timeout=timeout_s)
            self._http = opened  # before it connects: abort() must find it
            opened.connect()
            opened.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._http.sock.settimeout(timeout_s)
        return self._http


def _object(content: bytes) -> Mapping[str, JsonValue]:
    try:
        found = json.loads(content, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _refuse(constant: str) -> None:
    """Refuse NaN and infinity, which Python reads and JSON does not have (RFC 8259, sec. 6)."""
    raise ValueError(constant)
