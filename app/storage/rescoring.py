"""Takes a run's figures from all its closed rounds: after one was taken away, or changed when it was over."""

from __future__ import annotations

from sqlalchemy import Connection, select

from app.storage import scoring
from app.storage.records import RunRecord
from app.storage.tables import ROUNDS


def rescore(connection: Connection, run_key: int, run: RunRecord) -> None:
    """Fold over the closed rounds anew."""
    table = ROUNDS.c
    columns = (table.server_round, table.loss, table.accuracy, table.client_loss, table.client_accuracy, table.seconds)
    query = select(*columns).where(table.run_key == run_key, table.is_closed).order_by(table.server_round)
    scoring.clear(run)
    for row in connection.execute(query):
        scoring.add_round(run, scoring.Score.of(row))
