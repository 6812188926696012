"""Puts the dashboard together: routes, guards, the live channel."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask import Flask, Response, request
from flask_openapi3.models.info import Info
from flask_openapi3.openapi import OpenAPI
from flask_socketio import SocketIO
from werkzeug.middleware.proxy_fix import ProxyFix

from app.web import docs, guard, internal, pages, problems, requests, telemetry
from app.web.answers import compress
from app.web.api import charts, config, events, models, original, run_parts, runs, session, system, topology
from app.web.context import HUB, SERVICES, STATUSES
from app.web.gate import SPARE_CONNECTIONS, Gate
from app.web.headers import secure
from app.web.live.hub import LiveHub
from app.web.live.presence import Presence
from app.web.live.rooms import plain
from app.web.live.sockets import MAX_MESSAGE_BYTES, SocketHandlers, SocketJson
from app.web.live.viewers import Viewers
from app.web.problems import Problem
from app.web.services import Services
from app.web.status import Statuses

_SUBJECTS = (
    runs, run_parts, charts, models, events, config, topology, session, system, original, telemetry, internal,
)  # fmt: skip
_SUMMARY = "Watch federations live, steer them, compare them."
_PING_INTERVAL_S, _PING_TIMEOUT_S = 20, 20
_SECURITY: dict[str, Any] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "The token of OUTPUT/.constellation/token"}
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """The assembled app; ``hub`` is not running yet."""

    app: Flask
    socketio: SocketIO
    hub: LiveHub
    viewers: Viewers


def create_app(services: Services) -> Dashboard:
    """Make the WSGI app and what belongs to it; no thread is started and nothing is read."""
    app = OpenAPI(
        "app.web",
        info=Info(title="Constellation", version=services.options.version or "0", description=_SUMMARY),
        security_schemes=_SECURITY,
        openapi_extensions={"security": [{"bearer": []}, {}]},  # from this machine, reading needs none
        doc_ui=False,
        static_folder=None,
        validation_error_model=Problem,
        validation_error_callback=problems.invalid,
    )
    app.url_map.strict_slashes = app.url_map.merge_slashes = False  # an address is right or wrong: no redirects
    requests.install(app)
    problems.install(app)
    guard.install(app)
    for subject in _SUBJECTS:
        app.register_api(subject.api)
    app.extensions[original.START_LOCK] = threading.Lock()
    docs.install(app)
    pages.install(app)
    app.after_request(_finish)
    return _with_live_channel(app, services)


def _finish(response: Response) -> Response:
    return secure(compress(request, response))


def _with_live_channel(app: Flask, services: Services) -> Dashboard:
    options = services.options
    socketio = SocketIO(
        app,
        async_mode="threading",
        json=SocketJson,
        cors_allowed_origins=[],  # the gate checks origins; no other site gets permission headers
        max_http_buffer_size=MAX_MESSAGE_BYTES,
        ping_interval=_PING_INTERVAL_S,
        ping_timeout=_PING_TIMEOUT_S,
        manage_session=False,
        **({"message_queue": options.message_queue, "channel": options.channel} if options.message_queue else {}),
    )
    viewers = Viewers(options.max_viewers, services.now)
    presence = Presence(socketio.server, viewers)
    statuses = Statuses(services, viewers, presence.socket_of)

    def status() -> dict[str, Any]:
        return plain(statuses.status())

    def metrics() -> dict[str, Any]:
        return plain(statuses.metrics())

    def emit(event: str, data: Mapping[str, Any], *, to: str) -> None:
        socketio.emit(event, data, to=to)

    hub = LiveHub(
        services.store, viewers, emit, status=status, metrics=metrics, on_tick=presence.look,
        is_shared=bool(options.message_queue), now=services.now,
    )  # fmt: skip
    SocketHandlers(
        socketio, services, viewers, status=status, metrics=metrics, on_viewers_changed=hub.viewers_changed
    ).register()
    app.extensions[SERVICES], app.extensions[HUB] = services, hub
    app.extensions[STATUSES] = statuses
    telemetry.install(app, telemetry.Telemetry(services.store, viewers))
    limit = options.max_viewers + SPARE_CONNECTIONS
    app.wsgi_app = Gate(app.wsgi_app, services.access.hosts, presence.num_connections, limit)  # type: ignore[method-assign]
    if options.proxy_hops:
        hops = options.proxy_hops
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops)  # type: ignore[method-assign]
    return Dashboard(app=app, socketio=socketio, hub=hub, viewers=viewers)
