"""Questions about updates and refusals: what each client did in each phase, and which replies were refused."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, select, tuple_

from app.storage.cursors import checked_limit, read_cursor, text_of, write_cursor
from app.storage.row_views import UPDATE_COLUMNS, refusal_view, update_view
from app.storage.tables import REFUSALS, UPDATES
from app.storage.values import Page
from app.storage.views import UpdateView
from shared.errors import BadQuery

STATES = ("waiting", "received", "accepted", "rejected", "late")


def updates_of_round(connection: Connection, run_key: int, number: int) -> tuple[UpdateView, ...]:
    """Return what every client did in a round, in the order in which they were asked."""
    table = UPDATES.c
    query = (
        select(*(table[name] for name in UPDATE_COLUMNS))
        .where(table.run_key == run_key, table.server_round == number)
        .order_by(table.seq, table.place)
    )
    return tuple(update_view(row) for row in connection.execute(query))


def newest_refusals(connection: Connection, run_key: int, limit: int, after_seq: int = 0) -> tuple[UpdateView, ...]:
    """Return the newest refused replies, newest first."""
    query = (
        select(REFUSALS)
        .where(REFUSALS.c.run_key == run_key, REFUSALS.c.seq > after_seq)
        .order_by(REFUSALS.c.seq.desc())
        .limit(limit)
    )
    return tuple(refusal_view(row) for row in connection.execute(query))


def updates_page(
    connection: Connection,
    run_key: int,
    *,
    state: str | None,
    reason: str | None,
    client: str | None,
    phase: str | None,
    server_round: int | None,
    limit: int,
    cursor: str | None,
) -> Page[UpdateView]:
    """Return a page of updates, newest first. Asked for refused ones, every refused reply is a line of its own.

    Raises:
        BadQuery: A filter, the limit or the cursor is not usable.
    """
    limit = checked_limit(limit)
    if state is not None and state not in STATES:
        raise BadQuery("state", f"must be one of {', '.join(STATES)}")
    is_refusals = state == "rejected" or reason is not None
    table: Table = REFUSALS if is_refusals else UPDATES
    conditions: list[ColumnElement[bool]] = [table.c.run_key == run_key]
    if is_refusals and state not in (None, "rejected"):
        return Page(items=())
    for name, value in (("client", client), ("phase", phase), ("reason", reason)):
        if value is not None:
            conditions.append(table.c[name] == text_of(name, value))
    if server_round is not None:
        if not 0 <= server_round < 2**63:
            raise BadQuery("round", "must be a whole number from 0")
        conditions.append(table.c.server_round == server_round)
    if is_refusals:
        return _refusals(connection, conditions, limit, cursor)
    if state is not None:
        conditions.append(UPDATES.c.state == state)
    return _updates(connection, conditions, limit, cursor)


def _refusals(
    connection: Connection, conditions: list[ColumnElement[bool]], limit: int, cursor: str | None
) -> Page[UpdateView]:
    if cursor:
        conditions.append(REFUSALS.c.seq < read_cursor(cursor, "refusals", (int,))[0])
    query = select(REFUSALS).where(*conditions).order_by(REFUSALS.c.seq.desc()).limit(limit + 1)
    rows = connection.execute(query).all()
    next_cursor = write_cursor("refusals", (rows[limit - 1].seq,)) if len(rows) > limit else None
    return Page(items=tuple(map(refusal_view, rows[:limit])), next_cursor=next_cursor)


def _updates(
    connection: Connection, conditions: list[ColumnElement[bool]], limit: int, cursor: str | None
) -> Page[UpdateView]:
    table = UPDATES.c
    if cursor:
        seq, place = read_cursor(cursor, "updates", (int, int))
        conditions.append(tuple_(table.seq, table.place) < tuple_(seq, place))
    columns = [table[name] for name in UPDATE_COLUMNS]
    query = (
        select(table.seq.label("made_seq"), table.place, *columns)
        .where(*conditions)
        .order_by(table.seq.desc(), table.place.desc())
        .limit(limit + 1)
    )
    rows: Any = connection.execute(query).all()
    next_cursor = None
    if len(rows) > limit:
        next_cursor = write_cursor("updates", (rows[limit - 1][0], rows[limit - 1][1]))
    return Page(items=tuple(update_view(row[2:]) for row in rows[:limit]), next_cursor=next_cursor)
