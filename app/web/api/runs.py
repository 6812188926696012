"""Runs: listed, made, steered, and all that one of them holds."""

from __future__ import annotations

from typing import Annotated, Literal

from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from pydantic import Field

from app.storage.views import RunState, RunView, Snapshot, View
from app.web.answers import answer
from app.web.api.fields import Body, MaxPoints, Name, PageQuery, Query, RunPath, Settings, Text
from app.web.api.steering import supervisor
from app.web.api.tags import RUNS
from app.web.context import hub, services
from app.web.problems import documented

api = APIBlueprint("runs", __name__, url_prefix="/api/v1/runs", abp_tags=[RUNS])


class RunPage(View):
    """A page of runs."""

    items: tuple[RunView, ...]
    next_cursor: str | None


class RunsQuery(PageQuery):
    """Which runs."""

    state: RunState | None = None
    q: Annotated[Text | None, Field(description="Looked for in ids, names, data sets, models and strategies")] = None
    sort: Literal[
        "-created", "created", "-updated", "updated", "-accuracy", "accuracy", "name", "-name"
    ] = "-created"  # fmt: skip


class NewRun(Body):
    """What to run: settings that are left out keep their defaults."""

    config: Annotated[
        Settings, Field(description="Settings by their kebab-case keys", examples=[{"num-rounds": 3}])
    ] = Field(default_factory=dict)
    name: Name = ""
    start: Annotated[bool, Field(description="false holds it back until it is started")] = True


class RunActionPath(RunPath):
    """What to ask of which run."""

    action: Literal["start", "pause", "resume", "stop"]


class PointsQuery(Query):
    """How fine."""

    max_points: MaxPoints = 500


@api.get("", responses={200: RunPage, **documented(401, 422)})
def list_runs(query: RunsQuery) -> Response:
    """List runs."""
    page = services().store.runs(
        state=query.state, query=query.q, sort=query.sort, limit=query.limit, cursor=query.cursor or None
    )
    return answer(RunPage(items=page.items, next_cursor=page.next_cursor))


@api.post("", responses={201: RunView, **documented(400, 401, 403, 409, 413, 415, 422, 503)})
def create_run(body: NewRun) -> Response:
    """Make a run and start it when its turn comes."""
    run = supervisor().create(body.config, body.name, body.start)
    hub().run_changed(run.run_id)
    made = answer(run, 201)
    made.headers["Location"] = f"/api/v1/runs/{run.run_id}"
    return made


@api.get("/<string:run_id>", responses={200: RunView, **documented(401, 404, 422)})
def get_run(path: RunPath) -> Response:
    """Show one run."""
    return answer(services().store.run(path.run_id))


@api.post(
    "/<string:run_id>/<any(start,pause,resume,stop):action>",
    responses={202: RunView, **documented(401, 403, 404, 409, 422, 503)},
)
def steer_run(path: RunActionPath) -> Response:
    """Start, pause, resume or stop a run; it takes effect at the next phase."""
    runs = supervisor()
    act = {"start": runs.start, "pause": runs.pause, "resume": runs.resume, "stop": runs.stop}[path.action]
    run = act(path.run_id)
    hub().run_changed(run.run_id)
    return answer(run, 202)


@api.get("/<string:run_id>/snapshot", responses={200: Snapshot, **documented(401, 404, 422)})
def snapshot(path: RunPath, query: PointsQuery) -> Response:
    """Return all that the page of a run begins with, up to event `last_seq`."""
    return answer(services().store.snapshot(path.run_id, max_points=query.max_points))
