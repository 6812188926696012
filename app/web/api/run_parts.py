"""What one run holds: rounds, updates, clients, models, settings, logs, and the whole as a file."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Literal

from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from pydantic import Field

from app.storage.views import ClientView, ModelView, RoundView, Scalar, UpdateView, View
from app.web.answers import answer
from app.web.api.fields import MaxPoints, PageQuery, Query, Round, RunPath, Text
from app.web.api.tags import RUNS
from app.web.context import services
from app.web.exports import export_csv, export_json
from app.web.problems import documented
from app.web.settings_text import file_and_command

api = APIBlueprint("run-parts", __name__, url_prefix="/api/v1/runs", abp_tags=[RUNS])


class RoundPage(View):
    """A page of rounds, ascending."""

    items: tuple[RoundView, ...]
    next_cursor: str | None


class UpdatePage(View):
    """A page of updates, newest first."""

    items: tuple[UpdateView, ...]
    next_cursor: str | None


class ClientPage(View):
    """A page of clients."""

    items: tuple[ClientView, ...]
    next_cursor: str | None


class ModelPage(View):
    """A page of models, newest first."""

    items: tuple[ModelView, ...]
    next_cursor: str | None


class RoundDetail(View):
    """One round, and what each client did in it."""

    round: RoundView
    updates: tuple[UpdateView, ...]


class RunConfigView(View):
    """A run's settings, as values, as a file and as a command."""

    config: dict[str, Scalar]
    toml: str
    command: str


class SamplePointView(View):
    """One point of a process's history."""

    ts: float
    cpu_percent: float | None
    rss_bytes: int | None
    memory_percent: float | None
    sent_bytes: int | None
    received_bytes: int | None
    gpu_percent: float | None
    gpu_memory_bytes: int | None


class SamplesView(View):
    """What one process used, oldest first."""

    node: str
    items: tuple[SamplePointView, ...]


class LogView(View):
    """The last lines that a run's process printed."""

    lines: tuple[str, ...]


class RoundPath(RunPath):
    """A round of a run."""

    server_round: Round


class UpdatesQuery(PageQuery):
    """Which updates."""

    state: Literal["waiting", "received", "accepted", "rejected", "late"] | None = None
    reason: Text | None = None
    client: Text | None = None
    phase: Text | None = None
    round: Round | None = None


class SamplesQuery(Query):
    """Which process, and how fine."""

    node: Annotated[Text, Field(min_length=1, description="`server`, `worker-1`, or a client")]
    max_points: MaxPoints = 500


class LogQuery(Query):
    """How much."""

    tail: Annotated[int, Field(ge=1, le=5000, description="Lines from the end")] = 500


class ExportQuery(Query):
    """In which form."""

    format: Literal["csv", "json"] = "csv"


@api.get("/<string:run_id>/rounds", responses={200: RoundPage, **documented(401, 404, 422)})
def list_rounds(path: RunPath, query: PageQuery) -> Response:
    """List a run's rounds."""
    page = services().store.rounds(path.run_id, limit=query.limit, cursor=query.cursor or None)
    return answer(RoundPage(items=page.items, next_cursor=page.next_cursor))


@api.get("/<string:run_id>/rounds/<int:server_round>", responses={200: RoundDetail, **documented(401, 404, 422)})
def get_round(path: RoundPath) -> Response:
    """Show one round with what each client did."""
    store = services().store
    found = store.round(path.run_id, path.server_round)
    return answer(RoundDetail(round=found, updates=store.round_updates(path.run_id, path.server_round)))


@api.get("/<string:run_id>/updates", responses={200: UpdatePage, **documented(401, 404, 422)})
def list_updates(path: RunPath, query: UpdatesQuery) -> Response:
    """List updates, newest first: with `state=rejected`, the refusals and why."""
    page = services().store.updates(
        path.run_id, state=query.state, reason=query.reason, client=query.client, phase=query.phase,
        server_round=query.round, limit=query.limit, cursor=query.cursor or None,
    )  # fmt: skip
    return answer(UpdatePage(items=page.items, next_cursor=page.next_cursor))


@api.get("/<string:run_id>/clients", responses={200: ClientPage, **documented(401, 404, 422)})
def list_clients(path: RunPath, query: PageQuery) -> Response:
    """List a run's clients."""
    page = services().store.clients(path.run_id, limit=query.limit, cursor=query.cursor or None)
    return answer(ClientPage(items=page.items, next_cursor=page.next_cursor))


@api.get("/<string:run_id>/models", responses={200: ModelPage, **documented(401, 404, 422)})
def list_models(path: RunPath, query: PageQuery) -> Response:
    """List a run's models."""
    page = services().store.models(path.run_id, limit=query.limit, cursor=query.cursor or None)
    return answer(ModelPage(items=page.items, next_cursor=page.next_cursor))


@api.get("/<string:run_id>/config", responses={200: RunConfigView, **documented(401, 404, 422)})
def run_config(path: RunPath) -> Response:
    """Return a run's settings, as TOML and as a command line too."""
    config = services().store.config(path.run_id)
    toml, command = file_and_command(config)
    return answer(RunConfigView(config=config, toml=toml, command=command))


@api.get("/<string:run_id>/samples", responses={200: SamplesView, **documented(401, 404, 422)})
def samples(path: RunPath, query: SamplesQuery) -> Response:
    """Return what one process of a run used: CPU, memory, network, GPU."""
    points = services().store.samples(path.run_id, query.node, max_points=query.max_points)
    return answer(SamplesView(node=query.node, items=tuple(SamplePointView(**asdict(point)) for point in points)))


@api.get("/<string:run_id>/logs", responses={200: LogView, **documented(401, 404, 422, 503)})
def logs(path: RunPath, query: LogQuery) -> Response:
    """Return the last lines that a run's process printed; none for runs that this dashboard did not start."""
    services().store.run(path.run_id)
    runs = services().supervisor
    return answer(LogView(lines=tuple(runs.log_lines(path.run_id, query.tail)) if runs is not None else ()))


@api.get(
    "/<string:run_id>/export",
    responses={
        200: {
            "description": "A file: one row a round, or the whole run",
            "content": {"text/csv": {"schema": {"type": "string"}}, "application/json": {"schema": {"type": "object"}}},
        },
        **documented(401, 404, 422),
    },
)
def export(path: RunPath, query: ExportQuery) -> Response:
    """Save a run: rounds as CSV, or everything as JSON."""
    store = services().store
    return export_csv(store, path.run_id) if query.format == "csv" else export_json(store, path.run_id)
