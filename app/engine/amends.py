"""What a killed run could not say any more: its checkpoint is on disk before the event that tells of it."""

from __future__ import annotations

from collections.abc import Iterable

from monitor import rows
from monitor.rows import Row
from shared.events import RoundClosed


def missing_round_closed(events: Iterable[Row], closed_round: int, model_digest: str) -> RoundClosed | None:
    """Return the event that a run's file lacks of the round its checkpoint was last closed with.

    Args:
        events: The run's events so far.
        closed_round: The last round whose checkpoint is whole; 0 is the initial model, of which nothing is told.
        model_digest: Hex SHA-256 of the model after it.
    """
    started = last = None
    for row in events:
        last = rows.number(row, "ts")
        if rows.whole(row, "server-round") != closed_round:
            continue
        if row.get("type") == "round-started":
            started = last
        elif row.get("type") == "round-closed":
            started = None
    if not closed_round or started is None or last is None:
        return None
    return RoundClosed(
        server_round=closed_round, seconds=max(0.0, last - started), model_digest=model_digest, checkpoint_seconds=0.0
    )
