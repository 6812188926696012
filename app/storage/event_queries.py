"""Questions about events: the audit log, and what a viewer that was away has missed."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, func, select

from app.storage.cursors import checked_limit
from app.storage.row_views import event_view
from app.storage.run_queries import run_key_of
from app.storage.tables import EVENTS, RUNS
from app.storage.views import EventView
from shared.errors import BadQuery

MAX_TYPES = 50


def events_after(
    connection: Connection, *, after: int, run: str | None, types: Sequence[str], limit: int, newest_first: bool
) -> tuple[EventView, ...]:
    """Return events whose id is above ``after``, in order, or the newest of them first.

    Raises:
        BadQuery: A filter or the limit is not usable.
        NotFound: There is no such run.
    """
    limit = checked_limit(limit)
    if not 0 <= after < 2**63:
        raise BadQuery("after", "must be an event's id, from 0")
    if len(types) > MAX_TYPES or any("\0" in kind or not kind.isprintable() for kind in types):
        raise BadQuery("type", f"must be at most {MAX_TYPES} kinds of events")
    table = EVENTS.c
    conditions: list[ColumnElement[bool]] = [table.id > after] if after else []
    order: ColumnElement[int] = table.id
    if run is not None:
        key = run_key_of(connection, run)
        conditions.append(table.run_key == key)
        order = table.seq  # within a run the same order, and that one is indexed
    if types:
        conditions.append(table.type.in_(types))
    query = (
        select(table.id, table.seq, table.ts, RUNS.c.run_id, table.type, table.data)
        .select_from(EVENTS.join(RUNS, RUNS.c.id == table.run_key))
        .where(*conditions)
        .order_by(order.desc() if newest_first else order.asc())
        .limit(limit)
    )
    return tuple(event_view(row) for row in connection.execute(query))


def last_id(connection: Connection) -> int:
    """Return the newest event's id, 0 when there is none."""
    return connection.execute(select(func.max(EVENTS.c.id))).scalar() or 0
