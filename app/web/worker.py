"""A gunicorn worker in which a connection costs a thread only once its request is there.

Stock gthread reads a request's head in a thread of the pool: some hundred clients that send it byte by byte, or not at
all, hold every thread, and nobody else is served ("slow loris"). Here the poller reads heads and small bodies, without
threads and with a deadline; when too many are under way the oldest give way. For the same reason connections are closed
in the poller: gunicorn waits up to two seconds for a client to close its side, in the thread that serves all others.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from functools import partial
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

from app.web.request_head import Progress, progress

HEAD_DEADLINE_S = 10.0  # for the head and a small body; a browser needs one round trip
MAX_READING = 1024  # connections that are being read; beyond, the oldest is closed
LINGER_S = 1.0  # for a client to read the answer and close: RFC 9112, sec. 9.6
DRAIN_S = 0.1  # for the rest of a body that was refused unread; gunicorn's own 5 s would be a thread's
_READ_BYTES = 16 * 1024
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class HeadFirstWorker(ThreadWorker):  # type: ignore[misc] # gunicorn has no types
    """gthread whose threads never wait for a request."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._reading: dict[Any, tuple[bytearray, float]] = {}  # connection -> (received, deadline), oldest first
        self._lingering: dict[Any, float] = {}  # connection -> deadline

    def enqueue_req(self, conn: Any) -> None:
        """Give a connection a thread, once its next request is there. The one gate to the pool."""
        received = bytearray(conn.parser.unreader.take_buffered() if conn.parser is not None else b"")
        conn.sock.setblocking(False)
        self._reading[conn] = (received, time.monotonic() + HEAD_DEADLINE_S)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._read, conn))
        if len(self._reading) > MAX_READING:
            self._give_up(next(iter(self._reading)))
        if conn in self._reading:
            self._read(conn, conn.sock)

    def handle_request(self, req: Any, conn: Any) -> Any:
        """Answer a request, in a thread of the pool."""
        conn.is_upgraded = any(name == "UPGRADE" for name, _ in req.headers)
        return super().handle_request(req, conn)

    def _keepalive_after(self, conn: Any, keepalive: bool) -> bool:
        """Tell whether the connection can have another request: not when a body is still to come."""
        return keepalive and bool(conn.parser.finish_body(deadline=time.monotonic() + DRAIN_S))

    def finish_request(self, conn: Any, fs: Any) -> None:
        """Keep the connection for its next request, or let it linger and go."""
        if not fs.cancelled() and fs.exception() is None and fs.result():
            super().finish_request(conn, fs)
        elif getattr(conn, "is_upgraded", False):
            # A WebSocket's reading thread may close it any moment: a poller must not look at it any more.
            with contextlib.suppress(OSError):
                conn.sock.shutdown(socket.SHUT_RDWR)
            self.nr_conns -= 1
            conn.close()
        else:
            self._linger(conn)

    def murder_pending(self) -> None:
        """Close what is late. Called about once a second."""
        super().murder_pending()
        now = time.monotonic()
        for conn in [conn for conn, (_, deadline) in self._reading.items() if deadline < now]:
            self._give_up(conn)
        for conn in [conn for conn, deadline in self._lingering.items() if deadline < now or not self.alive]:
            self._close(conn)
        if not self.alive:
            for conn in list(self._reading):
                self._give_up(conn)

    def handle_exit(self, sig: Any, frame: Any) -> None:
        """Begin to end: viewers are told at once, or their connections would outlast the grace period."""
        super().handle_exit(sig, frame)
        self.cfg.worker_int(self)

    def _read(self, conn: Any, _sock: object) -> None:
        received, _ = self._reading[conn]
        try:
            while True:
                chunk = conn.sock.recv(_READ_BYTES)
                if not chunk:
                    self._give_up(conn)
                    return
                received += chunk
                if progress(received) is not Progress.INCOMPLETE:
                    break
        except BlockingIOError:
            pass
        except OSError:
            self._give_up(conn)
            return
        match progress(received):
            case Progress.READY:
                self._hand_over(conn, bytes(received))
            case Progress.TOO_LARGE:
                with contextlib.suppress(OSError):
                    conn.sock.send(_TOO_LARGE)
                self._forget(conn)
                self._linger(conn)

    def _hand_over(self, conn: Any, received: bytes) -> None:
        self._forget(conn)
        conn.init()
        conn.parser.unreader.unread(received)
        super().enqueue_req(conn)

    def _give_up(self, conn: Any) -> None:
        self._forget(conn)
        self.nr_conns -= 1
        conn.close()

    def _forget(self, conn: Any) -> None:
        del self._reading[conn]
        with contextlib.suppress(KeyError, ValueError, OSError):
            self.poller.unregister(conn.sock)

    def _linger(self, conn: Any) -> None:
        """Close our side; the client's bytes are thrown away until it closes too, or the time is over."""
        try:
            conn.sock.setblocking(False)
            conn.sock.shutdown(socket.SHUT_WR)
            self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._drain, conn))
        except (OSError, ValueError, KeyError):
            self.nr_conns -= 1
            conn.close()
            return
        self._lingering[conn] = time.monotonic() + LINGER_S

    def _drain(self, conn: Any, _sock: object) -> None:
        with contextlib.suppress(BlockingIOError):
            try:
                if conn.sock.recv(_READ_BYTES):
                    return
            except BlockingIOError:
                raise
            except OSError:
                pass
            self._close(conn)

    def _close(self, conn: Any) -> None:
        del self._lingering[conn]
        with contextlib.suppress(KeyError, ValueError, OSError):
            self.poller.unregister(conn.sock)
        self.nr_conns -= 1
        conn.close()
