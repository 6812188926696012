"""Looks after Socket.IO's connections: who is still there, and who never said what it wants."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from app.web.live.viewers import Viewers

HANDSHAKE_S = 10.0  # to say whether one is a viewer: a connection that says nothing keeps a thread waiting


class Presence:
    """Watches the connections of one Socket.IO server. Called by the hub's thread."""

    def __init__(self, server: Any, viewers: Viewers, clock: Callable[[], float] = time.monotonic) -> None:
        self._server = server
        self._viewers = viewers
        self._clock = clock
        self._first_seen: dict[str, float] = {}  # Engine.IO's id of a connection that is no viewer (yet)
        self._was_asked: set[str] = set()  # connections whose answer to a ping is due

    def num_connections(self) -> int:
        """Return how many connections there are, viewers or not."""
        return len(self._server.eio.sockets)

    def socket_of(self, sid: str) -> tuple[bool, bool]:
        """Tell of a viewer whether its socket closes, and whether it is a WebSocket."""
        socket = self._server.eio.sockets.get(self._server.manager.eio_sid_from_sid(sid, "/"))
        if socket is None:
            return True, False
        return bool(socket.closing or socket.closed), bool(socket.upgraded)

    def look(self) -> None:
        """Note who answered a ping, and close connections that do not become viewers."""
        sockets = dict(self._server.eio.sockets)
        now = self._clock()
        first_seen, was_asked = {}, set()
        for eio_sid, socket in sockets.items():
            sid = self._server.manager.sid_from_eio_sid(eio_sid, "/")
            if sid is None:
                first_seen[eio_sid] = self._first_seen.get(eio_sid, now)
                if now - first_seen[eio_sid] > HANDSHAKE_S:
                    socket.close(wait=False)
            elif socket.last_ping is not None:
                was_asked.add(eio_sid)
            elif eio_sid in self._was_asked:
                self._viewers.seen(sid)
        self._first_seen, self._was_asked = first_seen, was_asked
