"""What is going on, in one answer: the present run, its clients, and who watches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from app.storage.store import Store
from app.storage.views import Band, RunView, Series, View
from app.web.live.viewers import Viewer, Viewers
from app.web.services import Services

_MAX_CLIENTS = 200
_POINTS = 200
_METRICS = ("accuracy", "loss")


class ViewerView(View):
    """One open page."""

    socket: Literal["open", "closing"]
    transport: Literal["websocket", "polling"]
    role: Literal["operator", "reader"]
    connected_ts: float
    last_seen_ts: float
    rooms: tuple[str, ...]


class ClientSeenView(View):
    """One client of the present run."""

    client: str
    state: str
    last_seen_ts: float | None


class StatusView(View):
    """The state of the system: `GET /api/status`, and the event `status_update`."""

    status: Literal[
        "idle", "queued", "starting", "running", "paused", "stopping", "completed", "stopped", "failed", "interrupted"
    ]
    is_training: bool
    run: RunView | None  # the present one, else the newest
    server_round: int
    num_rounds: int
    reason: str  # why it waits
    num_viewers: int
    viewer_cap: int
    viewers: tuple[ViewerView, ...]
    clients: tuple[ClientSeenView, ...]
    ts: float


class MetricsNowView(View):
    """The present run's figures: `GET /api/metrics`, and the event `metrics_update`."""

    run_id: str | None
    server_round: int
    accuracy: float | None
    loss: float | None
    best_accuracy: float | None
    best_round: int
    epsilon: float | None
    updates_accepted: int
    updates_rejected: int
    series: tuple[Series, ...]
    bands: tuple[Band, ...]


def present_run(store: Store) -> RunView | None:
    """Return the run that is under way, else the newest one, None when there is none."""
    living = store.living_runs()
    if living:
        return store.run(living[-1].run_id)
    newest = store.runs(sort="-created", limit=1).items
    return newest[0] if newest else None


class Statuses:
    """Answers both questions, for requests and for the live channel."""

    def __init__(self, services: Services, viewers: Viewers, socket_of: Callable[[str], tuple[bool, bool]]) -> None:
        """``socket_of`` tells of a viewer whether its socket closes, and whether it is a WebSocket."""
        self._services = services
        self._viewers = viewers
        self._socket_of = socket_of

    def status(self) -> StatusView:
        """Return what is going on."""
        store = self._services.store
        run = present_run(store)
        clients = store.clients(run.run_id, limit=_MAX_CLIENTS).items if run is not None else ()
        viewers = self._viewers.all()
        return StatusView(
            status=run.state if run is not None else "idle",
            is_training=run is not None and run.state in ("starting", "running", "paused", "stopping"),
            run=run,
            server_round=run.current_round if run is not None else 0,
            num_rounds=run.num_rounds if run is not None else 0,
            reason=run.reason if run is not None else "",
            num_viewers=len(viewers),
            viewer_cap=self._viewers.cap,
            viewers=tuple(self._viewer(viewer) for viewer in viewers),
            clients=tuple(
                ClientSeenView(client=client.client, state=client.state, last_seen_ts=client.last_seen_ts)
                for client in clients
            ),
            ts=self._services.now(),
        )  # fmt: skip

    def metrics(self) -> MetricsNowView:
        """Return the present run's figures."""
        store = self._services.store
        run = present_run(store)
        if run is None:
            return MetricsNowView(
                run_id=None, server_round=0, accuracy=None, loss=None, best_accuracy=None, best_round=0, epsilon=None,
                updates_accepted=0, updates_rejected=0, series=(), bands=(),
            )  # fmt: skip
        lines = store.metrics(run.run_id, names=_METRICS, clients=None, max_points=_POINTS)
        return MetricsNowView(
            run_id=run.run_id, server_round=run.current_round, accuracy=run.accuracy, loss=run.loss,
            best_accuracy=run.best_accuracy, best_round=run.best_round, epsilon=run.epsilon,
            updates_accepted=run.updates_accepted, updates_rejected=run.updates_rejected,
            series=lines.series, bands=lines.bands,
        )  # fmt: skip

    def _viewer(self, viewer: Viewer) -> ViewerView:
        is_closing, is_websocket = self._socket_of(viewer.sid)
        return ViewerView(
            socket="closing" if is_closing else "open",
            transport="websocket" if is_websocket else "polling",
            role="operator" if viewer.is_operator else "reader",
            connected_ts=viewer.connected_ts,
            last_seen_ts=viewer.last_seen_ts,
            rooms=tuple(sorted(viewer.rooms)),
        )
