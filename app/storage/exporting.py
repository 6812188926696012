"""A run's rounds as ``monitor.tables`` has them: what metrics.csv is written from, whoever writes it."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, select

from app.storage.tables import ROUNDS
from monitor.tables import RoundRow
from monitor.tally import Spread

_SAME = (
    "server_round", "attempt", "is_closed", "loss", "accuracy", "train_loss", "train_accuracy", "accepted", "rejected",
    "late", "capped", "evaluations_accepted", "evaluations_rejected", "evaluations_late", "num_examples",
    "collect_seconds", "aggregate_seconds", "evaluate_seconds", "checkpoint_seconds", "seconds", "kept_old_model",
    "model_digest",
)  # fmt: skip


def round_rows(connection: Connection, run_key: int) -> tuple[RoundRow, ...]:
    """Return all rounds of a run, ascending."""
    columns = [ROUNDS.c[name] for name in (*_SAME, "client_loss", "client_accuracy")]
    query = select(*columns).where(ROUNDS.c.run_key == run_key).order_by(ROUNDS.c.server_round)
    return tuple(_row(row) for row in connection.execute(query))


def _row(row: Any) -> RoundRow:
    same = {name: getattr(row, name) for name in _SAME}
    return RoundRow(**same, client_loss=_spread(row.client_loss), client_accuracy=_spread(row.client_accuracy))


def _spread(text: str) -> Spread | None:
    if not text:
        return None
    found = json.loads(text)
    found.pop("median", None)
    return Spread(**found)
