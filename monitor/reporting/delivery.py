"""Decides what to send next and when, from what the server answered. No I/O, no clock: a state machine.

``next_seq`` is the first event the server does not have, as far as is known. A gap (409) moves it back, to the newest
event that the server says it has: the call then begins with a duplicate, which the server drops, and an event that is
missing from the file for good (a full disk) lies inside the call, where the server lets it pass.
"""

from __future__ import annotations

import random
from http import HTTPStatus

from monitor.reporting.connection import Reply
from monitor.reporting.spool import Rows

FIRST_PAUSE_S = 0.2
MAX_PAUSE_S = 10.0  # a dashboard that is back is noticed within this time
REFUSED_PAUSE_S = 60.0  # a wrong token or an unknown form is not mended by asking again soon
SAID_AFTER_FAILURES = 3  # in a row: a dashboard that restarts is no news
MAX_RETRY_AFTER_S = 300.0  # what a server may ask for; more is taken as this

_TRANSIENT = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}


class Delivery:
    """Where one run's delivery stands.

    Attributes:
        next_seq: The event to go on with.
        ready_at: When the next call may be made, in the caller's clock; 0 is at once.
        is_failing: The last call brought nothing.
    """

    def __init__(self, first_seq: int, rng: random.Random) -> None:
        self.next_seq = first_seq
        self.ready_at = 0.0
        self.is_failing = False
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
        self.next_seq = rows.last_seq + 1
        self.ready_at = 0.0
        self._said.clear()
        return "is reported to again" if was_said else None

    def _gap(self, rows: Rows, last_seq: int, now: float) -> str | None:
        """Go back at once the first time; a server that says so again and again is not asked at full speed."""
        self._gaps += 1
        if last_seq >= rows.first_seq - 1 or self._gaps > 1:
            self.next_seq = max(1, min(last_seq, self.next_seq))
            return self.failed("it misses events that it was sent", now)
        self.next_seq = max(1, last_seq)
        self.ready_at = 0.0
        return None

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


def _count(reply: Reply, name: str) -> int | None:
    value = reply.fields.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
