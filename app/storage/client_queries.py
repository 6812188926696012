"""Questions about a run's clients and how its data is spread over them."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, select, tuple_
from sqlalchemy.sql import Select

from app.storage.cursors import checked_limit, read_cursor, write_cursor
from app.storage.projection import TERMINAL
from app.storage.row_views import MAX_CLIENTS_SHOWN, client_view
from app.storage.tables import CLIENTS, DATASETS, PARTITIONS, RUNS
from app.storage.values import Page
from app.storage.views import ClientView, PartitionView, RunView


def clients_of(
    connection: Connection, run_key: int, run: RunView, *conditions: ColumnElement[bool], limit: int = MAX_CLIENTS_SHOWN
) -> tuple[ClientView, ...]:
    """Return clients in the order in which people count."""
    rows = connection.execute(_select(run_key, *conditions).limit(limit)).all()
    epsilons = _epsilons(connection, run_key, run)
    return tuple(_view(row, run, epsilons) for row in rows)


def clients_page(
    connection: Connection, run_key: int, run: RunView, *, limit: int, cursor: str | None
) -> Page[ClientView]:
    """Return a page of clients, in the order in which people count.

    Raises:
        BadQuery: The limit or the cursor is not usable.
    """
    limit = checked_limit(limit)
    conditions: list[ColumnElement[bool]] = []
    if cursor:
        after = read_cursor(cursor, "clients", (str, str))
        conditions.append(tuple_(CLIENTS.c.sort_key, CLIENTS.c.client) > tuple_(*after))
    rows = connection.execute(_select(run_key, *conditions).limit(limit + 1)).all()
    epsilons = _epsilons(connection, run_key, run)
    last = rows[limit - 1] if len(rows) > limit else None
    return Page(
        items=tuple(_view(row, run, epsilons) for row in rows[:limit]),
        next_cursor=write_cursor("clients", (last.sort_key, last.client)) if last is not None else None,
    )


def _select(run_key: int, *conditions: ColumnElement[bool]) -> Select[Any]:
    table = CLIENTS.c
    held = and_(PARTITIONS.c.run_key == table.run_key, PARTITIONS.c.client == table.client)
    return (
        select(CLIENTS, PARTITIONS.c.num_examples.label("held_examples"), PARTITIONS.c.histogram)
        .select_from(CLIENTS.outerjoin(PARTITIONS, held))
        .where(table.run_key == run_key, *conditions)
        .order_by(table.sort_key, table.client)
    )


def _view(row: Any, run: RunView, epsilons: dict[str, float]) -> ClientView:
    return client_view(row, run.current_round, is_over=run.state in TERMINAL, epsilons=epsilons)


def _epsilons(connection: Connection, run_key: int, run: RunView) -> dict[str, float]:
    if run.epsilon is None:
        return {}
    text = connection.execute(select(RUNS.c.privacy).where(RUNS.c.id == run_key)).scalar_one()
    found: dict[str, float] = json.loads(text).get("by-client", {}) if text else {}
    return found


def partition_of(connection: Connection, run_key: int, after_seq: int = 0) -> PartitionView | None:
    """Return how the data is spread, where the run said so after ``after_seq``."""
    described = connection.execute(select(DATASETS).where(DATASETS.c.run_key == run_key)).first()
    if described is None or described.seq <= after_seq:
        return None
    table = PARTITIONS.c
    query = (
        select(table.client, table.histogram)
        .where(table.run_key == run_key)
        .order_by(table.place)
        .limit(MAX_CLIENTS_SHOWN)
    )
    return PartitionView.model_construct(
        class_names=tuple(json.loads(described.class_names)),
        histograms={row.client: tuple(json.loads(row.histogram)) for row in connection.execute(query)},
        num_clients=described.num_clients,
    )
