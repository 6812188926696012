"""Questions about runs: one, a page of them, its settings, and which ones should have a living process."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select

from app.storage.cursors import checked_limit, read_cursor, write_cursor
from app.storage.run_views import LIVING, run_view, select_runs
from app.storage.tables import RUNS
from app.storage.values import Page, RunProcess, Scalar
from app.storage.views import RunView
from shared.errors import BadQuery, NotFound

_LEAST = -1e300  # stands in for a figure that is not known: cursors need a number
MAX_QUERY = 200

# What a list can be sorted by. Texts and numbers alike: the cursor holds the value and the row's number.
SORTS: dict[str, tuple[ColumnElement[Any], type]] = {
    "created": (RUNS.c.created_ts, float),
    "updated": (RUNS.c.updated_ts, float),
    "name": (RUNS.c.name, str),
    "run": (RUNS.c.run_id, str),
    "state": (RUNS.c.state, str),
    "dataset": (RUNS.c.dataset, str),
    "model": (RUNS.c.model, str),
    "strategy": (RUNS.c.strategy, str),
    "clients": (RUNS.c.num_clients, int),
    "rounds": (RUNS.c.rounds_completed, int),
    "accuracy": (func.coalesce(RUNS.c.accuracy, _LEAST), float),
    "best-accuracy": (func.coalesce(RUNS.c.best_accuracy, _LEAST), float),
    "loss": (func.coalesce(RUNS.c.loss, _LEAST), float),
    "epsilon": (func.coalesce(RUNS.c.epsilon, _LEAST), float),
    "rejected": (RUNS.c.updates_rejected, int),
}


def run_key_of(connection: Connection, run_id: str) -> int:
    """Return a run's number.

    Raises:
        NotFound: There is no such run.
    """
    key: int | None = connection.execute(select(RUNS.c.id).where(RUNS.c.run_id == _asked(run_id))).scalar()
    if key is None:
        raise NotFound(f"there is no run {run_id[:MAX_QUERY]!r}")
    return key


def one_run(connection: Connection, run_id: str, now: float) -> tuple[int, RunView]:
    """Return a run's number and view.

    Raises:
        NotFound: There is no such run.
    """
    row = connection.execute(select_runs(RUNS.c.run_id == _asked(run_id))).first()
    if row is None:
        raise NotFound(f"there is no run {run_id[:MAX_QUERY]!r}")
    return row.id, run_view(row, now)


def _asked(run_id: str) -> str:
    """Return a name that a database can be asked for."""
    return run_id.replace("\0", "\ufffd").encode("utf-8", "replace").decode()[: MAX_QUERY + 1]


def runs_page(
    connection: Connection,
    *,
    state: str | None,
    query: str | None,
    sort: str,
    limit: int,
    cursor: str | None,
    now: float,
) -> Page[RunView]:
    """Return a page of runs.

    Raises:
        BadQuery: The sort, the limit or the cursor is not usable.
    """
    limit = checked_limit(limit)
    is_descending, name = sort.startswith("-"), sort.removeprefix("-")
    if name not in SORTS:
        raise BadQuery("sort", f"must be one of {', '.join(SORTS)}, with - before it for the largest first")
    column, kind = SORTS[name]
    conditions: list[ColumnElement[bool]] = []
    if state:
        conditions.append(RUNS.c.state == _asked(state))
    if query:
        conditions.append(_matches(query))
    if cursor:
        value, key = read_cursor(cursor, f"runs {sort}", (kind, int))
        beyond = column < value if is_descending else column > value
        further = RUNS.c.id < key if is_descending else RUNS.c.id > key
        conditions.append(or_(beyond, and_(column == value, further)))
    order = (column.desc(), RUNS.c.id.desc()) if is_descending else (column.asc(), RUNS.c.id.asc())
    found = select_runs(*conditions).add_columns(column.label("sorted_by")).order_by(*order).limit(limit + 1)
    rows = connection.execute(found).all()
    next_cursor = None
    if len(rows) > limit:
        last = rows[limit - 1]
        next_cursor = write_cursor(f"runs {sort}", (last.sorted_by, last.id))
    return Page(items=tuple(run_view(row, now) for row in rows[:limit]), next_cursor=next_cursor)


def _matches(query: str) -> ColumnElement[bool]:
    text = _asked(query[:MAX_QUERY]).lower()
    columns = (RUNS.c.run_id, RUNS.c.name, RUNS.c.dataset, RUNS.c.model, RUNS.c.strategy)
    return or_(*(func.lower(column).contains(text, autoescape=True) for column in columns))


def config_of(connection: Connection, run_key: int) -> dict[str, Scalar]:
    """Return a run's settings, in their order."""
    config: dict[str, Scalar] = json.loads(
        connection.execute(select(RUNS.c.config).where(RUNS.c.id == run_key)).scalar_one()
    )
    return config


_PROCESS = tuple(RUNS.c[field.name] for field in fields(RunProcess))


def process_of(connection: Connection, run_id: str) -> RunProcess:
    """Return which process a run is, or was.

    Raises:
        NotFound: There is no such run.
    """
    key = run_key_of(connection, run_id)
    return RunProcess(**connection.execute(select(*_PROCESS).where(RUNS.c.id == key)).one()._asdict())


def living(connection: Connection) -> tuple[RunProcess, ...]:
    """Return the runs that should have a living process, oldest first."""
    query = select(*_PROCESS).where(RUNS.c.state.in_(LIVING)).order_by(RUNS.c.id)
    return tuple(RunProcess(**row._asdict()) for row in connection.execute(query))
