"""The routes of the first description, over the same runs: status, start, stop, metrics, config."""

from __future__ import annotations

import threading
from typing import Annotated, cast

from flask import Response, current_app
from flask_openapi3.blueprint import APIBlueprint
from pydantic import ConfigDict, Field, RootModel

from app.control.config_check import check_config
from app.storage.store import Store
from app.storage.views import RunView, Scalar, View
from app.web.answers import answer
from app.web.api.fields import Settings
from app.web.api.steering import supervisor
from app.web.api.tags import ORIGINAL
from app.web.context import hub, services, statuses
from app.web.problems import documented
from app.web.status import MetricsNowView, StatusView, present_run
from shared.errors import Conflict

api = APIBlueprint("original", __name__, url_prefix="/api", abp_tags=[ORIGINAL])

CURRENT_CONFIG = "current-config"
START_LOCK = "constellation.start-lock"  # two starts at once: the second one must see the first one's run


class SettingsBody(RootModel[Annotated[Settings, Field(examples=[{"num-rounds": 3, "num-clients": 4}])]]):
    """Settings by their kebab-case keys; `{}` changes none."""

    model_config = ConfigDict(frozen=True, strict=True)


class RunAnswer(View):
    """What was done, and to which run."""

    status: str
    message: str
    run: RunView


class ConfigAnswer(View):
    """The settings that `POST /api/start` uses."""

    config: dict[str, Scalar]


@api.get("/status", responses={200: StatusView, **documented(401, 503)})
def status() -> Response:
    """Tell what is going on, with the state of each viewer's socket and when viewers and clients were seen last."""
    return answer(statuses().status())


@api.post("/start", responses={202: RunAnswer, **documented(400, 401, 403, 409, 411, 413, 415, 422, 503)})
def start(body: SettingsBody) -> Response:
    """Start a run with the current settings; what the body names differs for this run. 409 while one runs."""
    runs = supervisor()
    with cast(threading.Lock, current_app.extensions[START_LOCK]):
        under_way = _under_way(services().store)
        if under_way is not None:
            raise Conflict(
                f"run {under_way.run_id} is {under_way.state}; stop it first, or queue with POST /api/v1/runs"
            )
        run = runs.create({**_current(), **body.root}, "", True)
    hub().run_changed(run.run_id)
    return answer(RunAnswer(status=run.state, message=f"run {run.run_id} is {run.state}", run=run), 202)


@api.post("/stop", responses={202: RunAnswer, **documented(401, 403, 409, 503)})
def stop() -> Response:
    """Stop the run that is under way, at its next phase. 409 when none is."""
    runs = supervisor()
    under_way = _under_way(services().store)
    if under_way is None:
        raise Conflict("no run is under way")
    run = runs.stop(under_way.run_id)
    hub().run_changed(run.run_id)
    return answer(RunAnswer(status=run.state, message=f"run {run.run_id} stops at its next phase", run=run), 202)


@api.get("/metrics", responses={200: MetricsNowView, **documented(401, 503)})
def metrics() -> Response:
    """Return the present run's figures and curves."""
    return answer(statuses().metrics())


@api.get("/config", responses={200: ConfigAnswer, **documented(401, 503)})
def get_config() -> Response:
    """Show the settings that `POST /api/start` uses."""
    return answer(ConfigAnswer(config=check_config(_current()).as_flat()))


@api.post("/config", responses={200: ConfigAnswer, **documented(400, 401, 403, 411, 413, 415, 422, 503)})
def set_config(body: SettingsBody) -> Response:
    """Change settings that `POST /api/start` uses; what is not named stays."""
    changed = {**_current(), **body.root}
    settings = check_config(changed)
    services().store.set_setting(CURRENT_CONFIG, dict(changed))
    return answer(ConfigAnswer(config=settings.as_flat()))


def _current() -> dict[str, Scalar]:
    kept = services().store.settings.get(CURRENT_CONFIG)
    found = kept if isinstance(kept, dict) else {}
    return {key: value for key, value in found.items() if isinstance(value, bool | int | float | str)}


def _under_way(store: Store) -> RunView | None:
    run = present_run(store)
    return run if run is not None and run.state in ("queued", "starting", "running", "paused", "stopping") else None
