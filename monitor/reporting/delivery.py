"""Decides what to send next and when, from what the server answered. No I/O, no clock: a state machine.

A call that does not begin where the server's events end is a gap (409): the sender goes back to the newest event that
the server says it has. The call then begins with a duplicate, which the server drops, and an event that is missing for
good lies inside the call, where the server lets it pass.

An event that the server does not take (a client may have found a way to spoil one) must not keep the others back: it is
found, by the server's word or by halving, and passed over.
"""

from __future__ import annotations

import random
import re
from http import HTTPStatus

from monitor.reporting.connection import Reply
from monitor.reporting.spool import Rows

MAX_ROWS = 500  # a call; the dashboard takes 1,000
FIRST_PAUSE_S = 0.2
MAX_PAUSE_S = 10.0  # a dashboard that is back is noticed within this time
REFUSED_PAUSE_S = 60.0  # a wrong token or another version is not mended by asking again soon
SAID_AFTER_FAILURES = 3  # in a row: a dashboard that restarts is no news
MAX_RETRY_AFTER_S = 300.0  # what a server may ask for; more is taken as this
MAX_PASSED_OVER = 32  # in a row: when so many are refused it is not the events

_TRANSIENT = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
_ABOUT_ROWS = {HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY}
_ROW = re.compile(r"events[\[.](\d{1,4})\b")


class Delivery:
    """Where one run's delivery stands.

    Attributes:
        next_seq: The event to begin the next call with.
        max_rows: Rows that the next call may have.
        passed_over: Events that are left out.
        ready_at: When the next call may be made, in the caller's clock; 0 is at once.
        is_failing: The last call brought nothing, and there is no use in another one right now.
    """

    def __init__(self, first_seq: int, rng: random.Random) -> None:
        self.next_seq = first_seq
        self.max_rows = MAX_ROWS
        self.passed_over: set[int] = set()
        self.ready_at = 0.0
        self.is_failing = False
        self._known = first_seq - 1  # the newest event that the server has, as far as we know
        self._rng = rng
        self._failures = 0  # in a row
        self._gaps = 0  # in a row
        self._said: set[str] = set()

    def answered(self, rows: Rows, reply: Reply, now: float) -> str | None:
        """Take the server's answer to ``rows``; returns what a person should be told, None when nothing is new."""
        last_seq = _count(reply, "last_seq")
        if reply.status == HTTPStatus.OK:
            if last_seq is None or last_seq < rows.last_seq:
                return self.failed("it answers, but not as a dashboard of this project does", now)
            return self._delivered(rows)
        if reply.status == HTTPStatus.CONFLICT and last_seq is not None:
            return self._gap(rows, last_seq, now)
        why = f"it answers {reply.status}" + (f" ({reply.detail[:200]})" if reply.detail else "")
        if reply.status >= 500 or reply.status in _TRANSIENT:
            return self.failed(why, now, at_least_s=min(reply.retry_after_s, MAX_RETRY_AFTER_S))
        if reply.status in _ABOUT_ROWS:
            return self._narrow(rows, reply, why, now)
        return self._refused(why, now)

    def failed(self, why: str, now: float, *, at_least_s: float = 0.0) -> str | None:
        """Wait before the next call, longer after each failure, up to ``MAX_PAUSE_S``."""
        self.is_failing = True
        pause = min(MAX_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(self._failures, 16))
        self._failures += 1
        self._wait(max(at_least_s, pause), now)
        if self._failures < SAID_AFTER_FAILURES:
            return None
        return self._once("outage", f"cannot be reported to: {why}; events wait in events.jsonl and training goes on")

    def _delivered(self, rows: Rows) -> str | None:
        was_said = bool(self._said)
        self.is_failing = False
        self._failures = self._gaps = 0
        self._known = rows.last_seq
        self.next_seq = rows.last_seq + 1
        self.max_rows = min(MAX_ROWS, self.max_rows * 2)
        self.passed_over = {seq for seq in self.passed_over if seq > rows.last_seq}
        self.ready_at = 0.0
        self._said = {key for key in self._said if key == "row"}
        return "is reported to again" if was_said and not self._said else None

    def _gap(self, rows: Rows, last_seq: int, now: float) -> str | None:
        """Go back at once the first time; a server that says so again and again is not asked at full speed."""
        self._gaps += 1
        is_odd = last_seq >= rows.first_seq - 1 or self._gaps > 1
        self._known = min(last_seq, rows.last_seq)
        self._begin_with_known(max(2, self.max_rows))
        if is_odd:
            return self.failed("it misses events that it was sent", now)
        return None

    def _narrow(self, rows: Rows, reply: Reply, why: str, now: float) -> str | None:
        """Find the event that is refused, and go on without it."""
        fresh = [seq for seq in rows.seqs if seq > self._known]
        culprit = _named(reply, rows)
        if culprit is None and len(fresh) > 1:
            self._begin_with_known(-(-len(fresh) // 2) + (self._known > 0))
            return None
        if culprit is None:
            culprit = rows.last_seq
        self.passed_over.add(culprit)
        # Without its first event a run is none: later ones could not be told from those after a gap.
        if len(self.passed_over) > MAX_PASSED_OVER or (self._known == 0 and culprit == rows.first_seq):
            self.passed_over.clear()
            self.max_rows = MAX_ROWS
            return self._refused(why, now)
        self._begin_with_known(max(2, len(fresh)))
        return self._once("row", f"does not take event {culprit}: {why}; it goes on without it")

    def _begin_with_known(self, max_rows: int) -> None:
        self.next_seq = max(1, self._known)
        self.max_rows = max_rows
        self.ready_at = 0.0
        self.is_failing = False

    def _refused(self, why: str, now: float) -> str | None:
        self.is_failing = True
        self._wait(REFUSED_PAUSE_S, now)
        return self._once(why, f"refuses reports: {why}; events stay in events.jsonl and training goes on")

    def _wait(self, pause_s: float, now: float) -> None:
        # Between half the pause and all of it: many runs that lost the same dashboard do not come back at once.
        self.ready_at = now + pause_s * (0.5 + 0.5 * self._rng.random())

    def _once(self, key: str, sentence: str) -> str | None:
        if key in self._said:
            return None
        self._said.add(key)
        return sentence


def _named(reply: Reply, rows: Rows) -> int | None:
    """Return the event that a problem+json answer is about: ``{"errors": [{"field": "events[3].metrics", ...}]}``."""
    errors = reply.fields.get("errors")
    first = errors[0] if isinstance(errors, list) and errors else None
    field = first.get("field") if isinstance(first, dict) else None
    found = _ROW.search(field) if isinstance(field, str) else None
    place = int(found[1]) if found else len(rows.seqs)
    return rows.seqs[place] if place < len(rows.seqs) else None


def _count(reply: Reply, name: str) -> int | None:
    value = reply.fields.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
