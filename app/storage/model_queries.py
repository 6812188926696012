"""Questions about models: which there are, which came from which, and where the file of one is."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, select
from sqlalchemy.sql import Select

from app.storage.cursors import checked_limit, read_cursor, write_cursor
from app.storage.row_views import model_view
from app.storage.tables import MODELS, ROUNDS, RUNS
from app.storage.values import Page
from app.storage.views import ModelView
from shared.errors import NotFound

MAX_LINEAGE = 1_000


def select_models(*conditions: ColumnElement[bool]) -> Select[Any]:
    """Select models with their runs and how good they were."""
    table = MODELS.c
    after = and_(ROUNDS.c.run_key == table.run_key, ROUNDS.c.server_round == table.server_round)
    return (
        select(
            table.id,
            table.digest,
            table.run_key,
            RUNS.c.run_id,
            table.server_round,
            table.parent,
            table.created_ts,
            table.size_bytes,
            table.file_digest,
            ROUNDS.c.accuracy,
            ROUNDS.c.loss,
            ROUNDS.c.client_accuracy,
            ROUNDS.c.client_loss,
        )
        .select_from(MODELS.join(RUNS, RUNS.c.id == table.run_key).outerjoin(ROUNDS, after))
        .where(*conditions)
    )


def models_page(connection: Connection, run_key: int | None, *, limit: int, cursor: str | None) -> Page[ModelView]:
    """Return a page of models, newest first.

    Raises:
        BadQuery: The limit or the cursor is not usable.
    """
    limit = checked_limit(limit)
    conditions: list[ColumnElement[bool]] = [] if run_key is None else [MODELS.c.run_key == run_key]
    if cursor:
        conditions.append(MODELS.c.id < read_cursor(cursor, "models", (int,))[0])
    rows = connection.execute(select_models(*conditions).order_by(MODELS.c.id.desc()).limit(limit + 1)).all()
    next_cursor = write_cursor("models", (rows[limit - 1].id,)) if len(rows) > limit else None
    return Page(items=tuple(map(model_view, rows[:limit])), next_cursor=next_cursor)


def models_of_run(connection: Connection, run_key: int, limit: int, after_seq: int = 0) -> tuple[ModelView, ...]:
    """Return the newest models of a run, newest first."""
    conditions = [MODELS.c.run_key == run_key]
    if after_seq:
        conditions.append(MODELS.c.seq > after_seq)
    query = select_models(*conditions).order_by(MODELS.c.server_round.desc()).limit(limit)
    return tuple(map(model_view, connection.execute(query)))


def model_of_round(connection: Connection, run_key: int, number: int) -> ModelView:
    """Return the model after a round.

    Raises:
        NotFound: It was not recorded.
    """
    row = connection.execute(select_models(MODELS.c.run_key == run_key, MODELS.c.server_round == number)).first()
    if row is None:
        raise NotFound(f"no model is recorded after round {number}")
    return model_view(row)


def lineage_of(connection: Connection, digest: str) -> tuple[ModelView, ...]:
    """Return a model and those it came from, newest first.

    Raises:
        NotFound: No run recorded it.
    """
    newest = newest_of(connection, digest)
    conditions = (MODELS.c.run_key == newest.run_key, MODELS.c.server_round <= newest.server_round)
    query = select_models(*conditions).order_by(MODELS.c.server_round.desc()).limit(MAX_LINEAGE)
    return tuple(map(model_view, connection.execute(query)))


def newest_of(connection: Connection, digest: str, *, with_file: bool = False) -> Any:
    """Return the newest row of a digest.

    Raises:
        NotFound: No run recorded it, or none put its file here.
    """
    asked = digest.replace("\0", "").encode("utf-8", "replace").decode()[:200]
    conditions = [MODELS.c.digest == asked] + ([MODELS.c.file_digest.is_not(None)] if with_file else [])
    row = connection.execute(select_models(*conditions).order_by(MODELS.c.id.desc()).limit(1)).first()
    if row is None:
        what = "no file of a model" if with_file else "no model"
        raise NotFound(f"there is {what} {asked[:80]!r}")
    return row
