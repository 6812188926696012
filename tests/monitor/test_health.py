from __future__ import annotations

import pytest

from monitor.health import check_clock, check_disk, check_last_seen, check_store, liveness

GIB = 1 << 30


@pytest.mark.parametrize(
    ("age", "expected"),
    [(-3.0, "online"), (0.0, "online"), (14.9, "online"), (15.0, "stale"), (44.9, "stale"), (45.0, "offline")],
)
def test_a_node_is_there_until_it_has_missed_too_many_signs_of_life(age: float, expected: str) -> None:
    assert liveness(1000.0, 1000.0 + age) == expected


def test_a_check_says_when_a_node_was_heard_of() -> None:
    assert check_last_seen("client-3", None, 0.0).state == "failed"
    check = check_last_seen("client-3", 100.0, 120.0)
    assert (check.state, check.detail) == ("warning", "client-3 was heard of 20 s ago")


@pytest.mark.parametrize(
    ("free", "state"),
    [(None, "warning"), (10 * GIB, "ok"), (GIB, "ok"), (GIB - 1, "warning"), (1 << 20, "failed"), (0, "failed")],
)
def test_a_disk_that_fills_is_warned_about_before_it_is_full(free: int | None, state: str) -> None:
    assert check_disk(free, "runs").state == state


def test_a_store_that_cannot_be_written_says_why() -> None:
    assert check_store(None).state == "ok"
    assert "database is locked" in check_store("database is locked").detail


@pytest.mark.parametrize(
    ("sent", "received", "travel", "state"),
    [
        (100.0, 100.1, 0.0, "ok"),
        (100.0, 105.0, 0.0, "ok"),
        (100.0, 106.0, 0.0, "warning"),  # behind
        (100.0, 106.0, 2.0, "ok"),  # the message may have been on its way for as long
        (106.0, 100.0, 2.0, "warning"),  # ahead: no travel makes a message arrive before it was sent
    ],
)
def test_clocks_that_disagree_are_told_from_messages_that_took_long(
    sent: float, received: float, travel: float, state: str
) -> None:
    assert check_clock(sent, received, travel).state == state
