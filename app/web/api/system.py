"""The dashboard itself: is it well, who is asking, what is it."""

from __future__ import annotations

import shutil
from typing import Literal

from flask import Response
from flask_openapi3.blueprint import APIBlueprint

from app.storage.views import View
from app.web.answers import answer
from app.web.api.tags import SYSTEM
from app.web.auth.access import SIGN_IN_HINT
from app.web.context import caller, hub, services
from app.web.guard import public
from app.web.problems import documented
from app.web.status import present_run
from monitor.health import Check, check_disk
from shared.errors import StoreError

api = APIBlueprint("system", __name__, url_prefix="/api/v1/system", abp_tags=[SYSTEM])


class CheckView(View):
    """One thing that was looked at."""

    name: str
    state: Literal["ok", "warning", "failed"]
    detail: str


class HealthView(View):
    """Whether the dashboard lives, and what was looked at."""

    status: Literal["ok", "warning", "failed"]
    checks: tuple[CheckView, ...] = ()


class InfoView(View):
    """What this dashboard is, and what the caller may do."""

    version: str
    signed_in: bool
    read_only: bool  # nothing can be changed: by this caller, or at all
    can_run: bool  # runs can be started here
    hint: str  # how to sign in; "" when signed in
    viewers: int
    viewer_cap: int
    live: bool  # false: it is full, so poll
    database: str
    output: str
    current_run: str | None


@api.get("/health", responses={200: HealthView, 503: HealthView, **documented(401)})
def health() -> Response:
    """Look at the store and the disk."""
    checks = (_store_check(), _disk_check())
    worst = max(checks, key=lambda check: ("ok", "warning", "failed").index(check.state)).state
    view = HealthView(
        status=worst, checks=tuple(CheckView(name=item.name, state=item.state, detail=item.detail) for item in checks)
    )
    return answer(view, 503 if worst == "failed" else 200)


@api.get("/ready", responses={200: HealthView, 503: HealthView})
@public
def ready() -> Response:
    """Tell whether requests can be answered: the store can be read."""
    check = _store_check()
    return answer(HealthView(status=check.state), 200 if check.state == "ok" else 503)


@api.get("/info", responses={200: InfoView, **documented(401)})
def info() -> Response:
    """Tell what this dashboard is and what the caller may do."""
    found = services()
    is_operator = caller().is_operator
    present = present_run(found.store)
    viewers = hub().num_viewers
    return answer(
        InfoView(
            version=found.options.version,
            signed_in=is_operator,
            read_only=not is_operator or found.supervisor is None,
            can_run=found.supervisor is not None,
            hint="" if is_operator else SIGN_IN_HINT.replace("OUTPUT", str(found.options.output), 1),
            viewers=viewers,
            viewer_cap=found.options.max_viewers,
            live=viewers < found.options.max_viewers,
            database=found.options.database,
            output=str(found.options.output),
            current_run=present.run_id if present is not None else None,
        )
    )


def _store_check() -> Check:
    try:
        services().store.last_event_id()
    except StoreError as error:
        return Check(name="store answers", state="failed", detail=str(error))
    return Check(name="store answers", state="ok", detail="the run store answers")


def _disk_check() -> Check:
    output = services().options.output
    try:
        free = shutil.disk_usage(output).free
    except OSError:
        free = None
    return check_disk(free, str(output))
