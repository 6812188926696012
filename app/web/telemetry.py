"""Figures for Prometheus: of the dashboard itself, and of the runs under way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from flask import Flask, Response, current_app, request
from flask_openapi3.blueprint import APIBlueprint
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from app.storage.store import Store
from app.storage.views import RunView, View
from app.web.answers import answer
from app.web.api.tags import SYSTEM
from app.web.context import statuses
from app.web.guard import public
from app.web.live.viewers import Viewers
from app.web.problems import documented
from app.web.status import present_run

api = APIBlueprint("telemetry", __name__, abp_tags=[SYSTEM])

TELEMETRY = "constellation.telemetry"
_GAUGES: Mapping[str, tuple[str, Callable[[RunView], float | None]]] = {
    "round": ("Round under way", lambda run: run.current_round),
    "rounds_completed": ("Rounds closed", lambda run: run.rounds_completed),
    "accuracy": ("Accuracy of the global model", lambda run: run.accuracy),
    "loss": ("Loss of the global model", lambda run: run.loss),
    "epsilon": ("Privacy spent, maximum over clients", lambda run: run.epsilon),
    "clients": ("Clients registered", lambda run: run.num_clients),
}
_MAX_RUNS = 64  # each is a set of time series: labels without a bound would fill Prometheus


class LiveView(View):
    """The process answers."""

    status: str = "ok"


class Telemetry:
    """Counts what the dashboard does. A registry of its own: the process's default one belongs to nobody."""

    def __init__(self, store: Store, viewers: Viewers) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self.requests = Counter(
            "constellation_http_requests", "Requests answered", ["method", "status"], registry=self.registry
        )
        self.registry.register(_Runs(store, viewers))
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)


class _Runs(Collector):
    """Reads the runs when Prometheus asks."""

    def __init__(self, store: Store, viewers: Viewers) -> None:
        self._store = store
        self._viewers = viewers

    def collect(self) -> Iterator[Metric]:
        """Yield what is known now."""
        viewers = GaugeMetricFamily("constellation_viewers", "Open pages")
        viewers.add_metric([], len(self._viewers))
        yield viewers
        events = CounterMetricFamily("constellation_events", "Events in the store")
        events.add_metric([], self._store.last_event_id())
        yield events
        yield from _families(self._shown())

    def _shown(self) -> list[RunView]:
        living = [process.run_id for process in self._store.living_runs()][:_MAX_RUNS]
        newest = present_run(self._store)
        ids = dict.fromkeys([*living, *([newest.run_id] if newest is not None else [])])
        return [self._store.run(run_id) for run_id in ids]


def _families(runs: list[RunView]) -> Iterator[Metric]:
    state = GaugeMetricFamily("constellation_run_state", "1 for the state a run is in", labels=["run", "state"])
    for run in runs:
        state.add_metric([run.run_id, run.state], 1)
    yield state
    for name, (text, value_of) in _GAUGES.items():
        family = GaugeMetricFamily(f"constellation_run_{name}", text, labels=["run"])
        for run in runs:
            value = value_of(run)
            if value is not None:
                family.add_metric([run.run_id], value)
        yield family
    updates = CounterMetricFamily(
        "constellation_run_updates", "Replies by what became of them", labels=["run", "result"]
    )
    received = CounterMetricFamily("constellation_run_received_bytes", "Bytes of updates", labels=["run"])
    for run in runs:
        updates.add_metric([run.run_id, "accepted"], run.updates_accepted)
        updates.add_metric([run.run_id, "rejected"], run.updates_rejected)
        updates.add_metric([run.run_id, "late"], run.updates_late)
        received.add_metric([run.run_id], run.bytes_received)
    yield updates
    yield received


def install(app: Flask, telemetry: Telemetry) -> None:
    """Count every answer."""
    app.extensions[TELEMETRY] = telemetry

    def count(response: Response) -> Response:
        method = request.method if request.method in ("GET", "HEAD", "POST", "DELETE", "OPTIONS") else "other"
        telemetry.requests.labels(method=method, status=str(response.status_code)).inc()
        return response

    app.after_request(count)


@api.get(
    "/metrics",
    responses={
        200: {
            "description": "Prometheus's text format; with `Accept: application/json` the present run's figures",
            "content": {
                "text/plain": {"schema": {"type": "string"}},
                "application/json": {"schema": {"$ref": "#/components/schemas/MetricsNowView"}},
            },
        },
        **documented(401, 503),
    },
)
def metrics() -> Response:
    """Return figures for Prometheus, or as JSON to those who ask for that."""
    if request.accept_mimetypes.best_match(["text/plain", "application/json"]) == "application/json":
        return answer(statuses().metrics())
    telemetry: Telemetry = current_app.extensions[TELEMETRY]
    return Response(generate_latest(telemetry.registry), content_type=CONTENT_TYPE_LATEST)


@api.get("/health", responses={200: LiveView})
@public
def health() -> Response:
    """Tell that the process answers; /api/v1/system/ready tells whether it can work."""
    return answer(LiveView())
