"""The one event that a kill between checkpoint and event swallows."""

from app.engine.amends import missing_round_closed
from monitor.rows import Row


def row(kind: str, server_round: int, ts: float) -> Row:
    return {"type": kind, "server-round": server_round, "ts": ts}


STARTED = [row("round-started", 1, 10.0), row("round-closed", 1, 11.0), row("round-started", 2, 12.0)]


def test_a_round_that_was_closed_but_not_told_of_is_told_of() -> None:
    found = missing_round_closed([*STARTED, row("model-evaluated", 2, 12.5)], 2, "ab")
    assert found is not None
    assert (found.server_round, found.seconds, found.model_digest) == (2, 0.5, "ab")


def test_nothing_is_told_twice() -> None:
    assert missing_round_closed([*STARTED, row("round-closed", 2, 13.0)], 2, "ab") is None
    assert missing_round_closed(STARTED, 1, "ab") is None
    assert missing_round_closed(STARTED, 0, "ab") is None
    assert missing_round_closed([], 3, "ab") is None
