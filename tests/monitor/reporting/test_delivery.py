from __future__ import annotations

import random

import pytest

from monitor.reporting.connection import Reply
from monitor.reporting.delivery import (
    MAX_PASSED_OVER,
    MAX_PAUSE_S,
    MAX_RETRY_AFTER_S,
    MAX_ROWS,
    REFUSED_PAUSE_S,
    Delivery,
)
from monitor.reporting.spool import Rows


def rows(first: int, last: int) -> Rows:
    return Rows(lines=tuple(b"{}" for _ in range(first, last + 1)), seqs=tuple(range(first, last + 1)))


def delivery(first_seq: int = 1) -> Delivery:
    return Delivery(first_seq, random.Random(1))


def test_what_was_taken_is_not_sent_again() -> None:
    state = delivery()
    assert state.answered(rows(1, 10), Reply(status=200, fields={"last_seq": 10}), 0.0) is None
    assert (state.next_seq, state.ready_at, state.is_failing) == (11, 0.0, False)


def test_a_gap_goes_back_at_once_to_the_newest_event_the_server_has() -> None:
    state = delivery(500)
    assert state.answered(rows(500, 510), Reply(status=409, fields={"last_seq": 120}), 0.0) is None
    assert (state.next_seq, state.ready_at) == (120, 0.0)


def test_a_server_that_was_wiped_gets_everything() -> None:
    state = delivery(500)
    state.answered(rows(500, 510), Reply(status=409, fields={"last_seq": 0}), 0.0)
    assert state.next_seq == 1


def test_a_server_that_always_finds_a_gap_is_not_hammered() -> None:
    state, now = delivery(10), 0.0
    for _ in range(20):
        state.answered(rows(state.next_seq, state.next_seq + 5), Reply(status=409, fields={"last_seq": 3}), now)
        now = state.ready_at
    assert now > 5 * MAX_PAUSE_S


@pytest.mark.parametrize("last_seq", [None, True, "7", -1, 4, 1.5])
def test_an_answer_that_says_nothing_of_use_is_a_failure(last_seq: object) -> None:
    state = delivery()
    state.answered(rows(1, 5), Reply(status=200, fields={"last_seq": last_seq}), 0.0)  # type: ignore[dict-item]
    assert state.is_failing
    assert (state.next_seq, state.ready_at > 0) == (1, True)


def test_pauses_grow_to_a_bound_and_are_spread() -> None:
    state, pauses = delivery(), []
    for _ in range(30):
        state.failed("refused", 0.0)
        pauses.append(state.ready_at)
    assert 0.1 <= pauses[0] <= 0.2
    assert all(MAX_PAUSE_S / 2 <= pause <= MAX_PAUSE_S for pause in pauses[10:])
    assert len(set(pauses[10:])) > 10


def test_a_short_outage_is_no_news_a_longer_one_is_said_once_and_its_end_too() -> None:
    state = delivery()
    said = [state.failed("connection refused", 0.0) for _ in range(10)]
    assert [sentence for sentence in said if sentence] == [said[2]]
    assert "connection refused; events wait in events.jsonl and training goes on" in str(said[2])
    assert state.answered(rows(1, 1), Reply(status=200, fields={"last_seq": 1}), 0.0) == "is reported to again"
    assert state.answered(rows(2, 2), Reply(status=200, fields={"last_seq": 2}), 0.0) is None


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 413, 422])
def test_a_refusal_is_said_once_and_asked_again_rarely(status: int) -> None:
    state = delivery()
    reply = Reply(status=status, fields={"detail": "ask the operator"})
    assert "ask the operator" in str(state.answered(rows(1, 1), reply, 0.0))
    assert state.ready_at >= REFUSED_PAUSE_S / 2
    assert state.answered(rows(1, 1), reply, 100.0) is None
    assert state.next_seq == 1


def test_a_busy_server_may_ask_for_time_but_not_for_ever() -> None:
    state = delivery()
    state.answered(rows(1, 1), Reply(status=429, retry_after_s=40.0), 0.0)
    assert 20.0 <= state.ready_at <= 40.0
    state.answered(rows(1, 1), Reply(status=503, retry_after_s=1e9), 0.0)
    assert state.ready_at <= MAX_RETRY_AFTER_S


def test_an_event_that_the_server_names_is_passed_over_and_said_once() -> None:
    state = delivery(10)
    reply = Reply(status=422, fields={"detail": "no", "errors": [{"field": "events[2].metrics", "message": "no"}]})
    assert "does not take event 12" in str(state.answered(rows(10, 19), reply, 0.0))
    assert (state.passed_over, state.next_seq, state.ready_at, state.is_failing) == ({12}, 9, 0.0, False)
    assert state.answered(rows(9, 9), reply, 0.0) is None


def test_an_event_that_nobody_names_is_found_by_halving() -> None:
    state, calls = delivery(2), 0
    while not state.passed_over:
        sent = rows(state.next_seq, min(500, state.next_seq + state.max_rows - 1))
        calls += 1
        status = 400 if 137 in sent.seqs else 200
        state.answered(sent, Reply(status=status, fields={"last_seq": sent.last_seq}), 0.0)
    assert state.passed_over == {137}
    assert calls <= 2 * 9 + 1  # 499 events halve nine times, and each half that is good is a call
    state.answered(rows(136, 136), Reply(status=200, fields={"last_seq": 138}), 0.0)
    state.answered(rows(138, 200), Reply(status=200, fields={"last_seq": 200}), 0.0)
    assert state.passed_over == set()


def test_a_server_that_takes_no_event_at_all_is_not_hammered() -> None:
    """As one of another version: each event is refused, whatever it is."""
    state, now, calls = delivery(2), 0.0, 0
    while now < 600.0:
        seqs = [seq for seq in range(state.next_seq, 2_000) if seq not in state.passed_over][: state.max_rows]
        sent = Rows(lines=tuple(b"{}" for _ in seqs), seqs=tuple(seqs))
        state.answered(sent, Reply(status=422), now)
        calls += 1
        now = max(now, state.ready_at)
    assert calls < (600 / (REFUSED_PAUSE_S / 2)) * (MAX_PASSED_OVER + 12)


def test_a_run_whose_first_event_is_refused_waits() -> None:
    state, said = delivery(1), None
    while not state.is_failing:
        said = state.answered(rows(1, state.max_rows), Reply(status=422), 0.0)
    assert "refuses reports" in str(said)
    assert state.ready_at >= REFUSED_PAUSE_S / 2
    assert (state.max_rows, state.passed_over) == (MAX_ROWS, set())


@pytest.mark.parametrize("field", ["events[99].x", "events", "run", 7, None, "events[-1]"])
def test_an_error_that_names_no_row_of_the_call_names_none(field: object) -> None:
    state = delivery(10)
    state.answered(rows(10, 19), Reply(status=422, fields={"errors": [{"field": field}]}), 0.0)  # type: ignore[dict-item]
    assert state.passed_over == set()
    assert state.max_rows == 6
