"""Socket.IO: who may watch, which rooms there are, and what a page asks."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from flask import request
from flask_socketio import ConnectionRefusedError as Refused
from flask_socketio import SocketIO, join_room, leave_room

from app.web.auth.access import Access, Asked, Refusal, Who
from app.web.live.messages import last_seq, missed
from app.web.live.rooms import is_room, run_of
from app.web.live.viewers import MAX_ROOMS, Viewers
from app.web.requests import asked_of, loads
from app.web.services import Services
from shared.errors import ConstellationError

FULL, UNAUTHORIZED = "full", "unauthorized"
MAX_MESSAGE_BYTES = 16 * 1024  # of a page's request: a room's name and a number


class SocketJson:
    """JSON for Socket.IO: strict in both directions."""

    @staticmethod
    def dumps(value: Any, **kwargs: Any) -> str:
        """Write compact JSON; a number that JSON cannot hold is an error here, not in the browser."""
        return json.dumps(value, **{"separators": (",", ":"), "allow_nan": False, **kwargs})

    @staticmethod
    def loads(text: str | bytes, **_: Any) -> Any:
        """Parse what a page sent."""
        return loads(text)


class SocketHandlers:
    """Answers what pages ask over Socket.IO."""

    def __init__(
        self,
        socketio: SocketIO,
        services: Services,
        viewers: Viewers,
        *,
        status: Callable[[], dict[str, Any]],
        metrics: Callable[[], dict[str, Any]],
        on_viewers_changed: Callable[[], None],
    ) -> None:
        self._socketio = socketio
        self._services = services
        self._viewers = viewers
        self._status = status
        self._metrics = metrics
        self._on_viewers_changed = on_viewers_changed

    def register(self) -> None:
        """Take over the namespace's events."""
        on = self._socketio.on_event
        on("connect", self._connect)
        on("disconnect", self._disconnect)
        on("subscribe", self._subscribe)
        on("unsubscribe", self._unsubscribe)
        on("request_status", self._request_status)
        on("request_metrics", self._request_metrics)

    def _connect(self, auth: object = None) -> None:
        access = self._services.access
        asked = asked_of(request, access.cookie_name)
        who = _identity(access, asked, auth)
        if isinstance(who, Refusal) or who is Who.STRANGER:
            raise Refused(UNAUTHORIZED)
        if not self._viewers.join(_sid(), is_operator=who.is_operator):
            raise Refused(FULL)
        self._on_viewers_changed()

    def _disconnect(self, reason: object = None) -> None:  # noqa: ARG002 - Socket.IO names one
        self._viewers.leave(_sid())
        self._on_viewers_changed()

    def _subscribe(self, wish: object = None) -> dict[str, Any]:
        sid = _sid()
        self._viewers.seen(sid)
        room, after = _wish(wish)
        if room is None or not is_room(room):
            return _sorry("name a room: overview, events, or run:ID")
        run_id = run_of(room)
        try:
            last = last_seq(self._services.store, run_id)
            if not self._viewers.enter(sid, room):
                return _sorry(f"a viewer may be in {MAX_ROOMS} rooms")
            join_room(room)  # before looking back: what happens meanwhile is told twice rather than never
            message = missed(self._services.store, room, run_id, after) if after is not None else None
        except ConstellationError as error:
            return _sorry(str(error))
        if message is not None:
            self._socketio.emit("update", message.to_json(self._services.now()), to=sid)
            last = message.seq
        return {"ok": True, "last_seq": last}

    def _unsubscribe(self, wish: object = None) -> dict[str, Any]:
        sid = _sid()
        self._viewers.seen(sid)
        room, _ = _wish(wish)
        if room is None or not is_room(room):
            return _sorry("name a room: overview, events, or run:ID")
        self._viewers.exit(sid, room)
        leave_room(room)
        return {"ok": True}

    def _request_status(self, _wish: object = None) -> dict[str, Any]:
        return self._tell("status_update", self._status())

    def _request_metrics(self, _wish: object = None) -> dict[str, Any]:
        return self._tell("metrics_update", self._metrics())

    def _tell(self, event: str, data: dict[str, Any]) -> dict[str, Any]:
        sid = _sid()
        self._viewers.seen(sid)
        self._socketio.emit(event, data, to=sid)
        return {"ok": True}


def _identity(access: Access, asked: Asked, auth: object) -> Who | Refusal:
    token = auth.get("token") if isinstance(auth, dict) else None
    if token is not None:
        return access.by_token(token if isinstance(token, str) else "", asked)
    return access.who(asked)


def _sid() -> str:
    return str(request.sid)  # type: ignore[attr-defined] # Flask-SocketIO puts it there


def _wish(wish: object) -> tuple[str | None, int | None]:
    """Read a page's request: what is not of its form counts as missing."""
    if not isinstance(wish, dict):
        return None, None
    room, after = wish.get("room"), wish.get("after")
    is_number = isinstance(after, int) and not isinstance(after, bool) and 0 <= after < 2**53
    return (room if isinstance(room, str) and len(room) <= 160 else None), (after if is_number else None)


def _sorry(error: str) -> dict[str, Any]:
    return {"ok": False, "error": error}
