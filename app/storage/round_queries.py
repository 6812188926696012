"""Questions about a run's rounds, and about what is under way in the current one."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Connection, select

from app.storage import scoring
from app.storage.checking import to_json
from app.storage.cursors import checked_limit, read_cursor, write_cursor
from app.storage.projection import TERMINAL
from app.storage.row_views import ROUND_COLUMNS, UPDATE_COLUMNS, round_view, spread_view, update_view
from app.storage.tables import CLIENTS, ROUNDS, UPDATES
from app.storage.thinning import thin
from app.storage.values import Page
from app.storage.views import PhaseNow, RoundView, RunView
from shared.errors import NotFound

MAX_UPDATES_SHOWN = 200
_ALL = tuple(ROUNDS.c[name] for name in (*ROUND_COLUMNS, "clients_evaluated", "is_evaluated"))


def rounds_of(
    connection: Connection, run_key: int, run: RunView, *conditions: ColumnElement[bool], limit: int | None = None
) -> list[RoundView]:
    """Return rounds, ascending."""
    query = select(*_ALL).where(ROUNDS.c.run_key == run_key, *conditions).order_by(ROUNDS.c.server_round).limit(limit)
    return [_view(connection, run_key, run, row) for row in connection.execute(query).all()]


def _view(connection: Connection, run_key: int, run: RunView, row: Any) -> RoundView:
    view = round_view(row, run.state)
    if row.is_evaluated or not row.evaluations_accepted:
        return view
    replies = connection.execute(  # the one round that its clients evaluate right now
        select(UPDATES.c.loss, UPDATES.c.accuracy).where(
            UPDATES.c.run_key == run_key,
            UPDATES.c.server_round == row.server_round,
            UPDATES.c.phase == "evaluate",
            UPDATES.c.state == "accepted",
        )
    ).all()
    loss, accuracy = scoring.spreads(replies, {})
    spreads = {"client_loss": loss, "client_accuracy": accuracy}
    return view.model_copy(
        update={name: spread_view(to_json(value)) if value else None for name, value in spreads.items()}
    )


def rounds_page(
    connection: Connection, run_key: int, run: RunView, *, limit: int, cursor: str | None
) -> Page[RoundView]:
    """Return a page of rounds, ascending.

    Raises:
        BadQuery: The limit or the cursor is not usable.
    """
    limit = checked_limit(limit)
    after = read_cursor(cursor, "rounds", (int,))[0] if cursor else -1
    found = rounds_of(connection, run_key, run, ROUNDS.c.server_round > after, limit=limit + 1)
    more = len(found) > limit
    return Page(
        items=tuple(found[:limit]),
        next_cursor=write_cursor("rounds", (found[limit - 1].server_round,)) if more else None,
    )


def one_round(connection: Connection, run_key: int, run: RunView, number: int) -> RoundView:
    """Return one round.

    Raises:
        NotFound: The run has no such round.
    """
    if abs(number) < 2**63 and (found := rounds_of(connection, run_key, run, ROUNDS.c.server_round == number)):
        return found[0]
    raise NotFound(f"run {run.run_id} has no round {number}")


def thinned(rounds: list[RoundView], max_points: int) -> tuple[RoundView, ...]:
    """Keep at most so many rounds: the first, the last, and the best and worst between."""
    return tuple(thin(rounds, [_goodness(view) for view in rounds], max_points))


def _goodness(view: RoundView) -> float | None:
    accuracy = view.accuracy
    if accuracy is None and view.client_accuracy is not None:
        accuracy = view.client_accuracy.mean
    return accuracy if accuracy is not None else view.loss


def phase_now(connection: Connection, run_key: int, run: RunView, *, after_seq: int = 0) -> PhaseNow | None:
    """Return what is under way, with the updates that changed after ``after_seq``."""
    if run.state in TERMINAL or run.state == "queued":
        return None
    table = ROUNDS.c
    row = connection.execute(
        select(
            table.server_round, table.attempt, table.phase, table.phase_ts, table.phase_asked, table.phase_answered
        ).where(table.run_key == run_key, table.server_round == run.current_round)
    ).first()
    if row is None or not row.phase:
        return None
    return PhaseNow.model_construct(
        server_round=row.server_round,
        attempt=row.attempt,
        phase=row.phase,
        started_ts=row.phase_ts,
        asked=row.phase_asked,
        answered=row.phase_answered,
        updates=_updates_of_phase(connection, run_key, row, after_seq),
    )


def _updates_of_phase(connection: Connection, run_key: int, row: Any, after_seq: int) -> tuple[Any, ...]:
    table = UPDATES.c
    query = (
        select(*(table[name] for name in UPDATE_COLUMNS))
        .select_from(
            UPDATES.outerjoin(CLIENTS, (CLIENTS.c.run_key == table.run_key) & (CLIENTS.c.client == table.client))
        )
        .where(
            table.run_key == run_key,
            table.server_round == row.server_round,
            table.phase == row.phase,
            table.changed_seq > after_seq,
        )
        .order_by(CLIENTS.c.sort_key, table.client)
        .limit(MAX_UPDATES_SHOWN)
    )
    return tuple(update_view(found) for found in connection.execute(query))
