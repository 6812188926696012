"""Events: the audit log of all runs, and what a client missed."""

from __future__ import annotations

from typing import Annotated

from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from pydantic import Field

from app.storage.views import EventView, View
from app.web.answers import answer
from app.web.api.fields import Limit, Query, RunId, Seq, Text, names_of
from app.web.api.tags import EVENTS
from app.web.context import services
from app.web.problems import documented

api = APIBlueprint("events", __name__, url_prefix="/api/v1/events", abp_tags=[EVENTS])


class EventPage(View):
    """Events, and the newest id there is."""

    items: tuple[EventView, ...]
    last_id: int


class EventsQuery(Query):
    """Which events."""

    after: Annotated[Seq, Field(description="Only events with a higher id")] = 0
    run: RunId | None = None
    type: Annotated[Text | None, Field(description="Comma-separated types")] = None
    limit: Limit = 200
    newest_first: bool = False


@api.get("", responses={200: EventPage, **documented(401, 404, 422)})
def list_events(query: EventsQuery) -> Response:
    """List events of all runs, or of one."""
    store = services().store
    last_id = store.last_event_id()  # asked first: an event that comes in between is in the items and above last_id
    items = store.events(
        after=query.after, run=query.run, types=names_of(query.type), limit=query.limit, newest_first=query.newest_first
    )
    return answer(EventPage(items=items, last_id=max(last_id, *(item.id for item in items), 0)))
