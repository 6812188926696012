"""The lines of charts: of one run, and of several beside each other."""

from __future__ import annotations

from typing import Annotated, Literal

from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from pydantic import Field

from app.storage.views import Comparison, MetricsView
from app.web.answers import answer
from app.web.api.fields import NO_CONTROL, MaxPoints, Query, RunPath, Text, names_of
from app.web.api.tags import RUNS
from app.web.context import services
from app.web.problems import documented, problem

api = APIBlueprint("charts", __name__, url_prefix="/api/v1/runs", abp_tags=[RUNS])

_MAX_COMPARED = 20


class MetricsQuery(Query):
    """Which lines, and how fine."""

    max_points: MaxPoints = 500
    names: Annotated[Text | None, Field(description="Comma-separated; all when left out")] = None
    clients: Annotated[
        str | None,
        Field(
            max_length=4000,
            pattern=NO_CONTROL,
            description="Clients with lines of their own: comma-separated, or `*` for each where they are few",
        ),
    ] = None


class CompareQuery(Query):
    """Which runs beside each other."""

    ids: Annotated[
        str,
        Field(min_length=1, max_length=2600, pattern=r"^[A-Za-z0-9._,-]+$", description="Comma-separated run ids"),
    ]
    x: Literal["round", "time", "bytes"] = "round"


@api.get("/compare", responses={200: Comparison, **documented(401, 404, 422)})
def compare_runs(query: CompareQuery) -> Response:
    """Compare runs: the settings in which they differ, and their curves."""
    ids = names_of(query.ids)
    if not 1 <= len(ids) <= _MAX_COMPARED:
        return problem(422, f"ids: name 1 to {_MAX_COMPARED} runs, got {len(ids)}")
    return answer(services().store.compare(ids, query.x))


@api.get("/<string:run_id>/metrics", responses={200: MetricsView, **documented(401, 404, 422)})
def metrics(path: RunPath, query: MetricsQuery) -> Response:
    """Return the lines of a run's charts; above 12 clients also the band between p10 and p90."""
    return answer(
        services().store.metrics(
            path.run_id, names=names_of(query.names), clients=_clients_of(query.clients), max_points=query.max_points
        )
    )


def _clients_of(text: str | None) -> tuple[str, ...] | None:
    """Return whose lines are wanted: nobody's without a word."""
    return () if text == "*" else names_of(text) or None
