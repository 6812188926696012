"""Sends a run's events to a dashboard, from a thread of its own, out of the run's ``events.jsonl``.

The run's own sink writes an event to that file before this one hears of it, so ``write`` only wakes the thread: the
training pays next to nothing, no queue can overflow, and an outage of any length loses nothing. Lines are sent as they
stand in the file. What could not be sent when the run ends, the dashboard reads from the run's folder when it is back.
"""

from __future__ import annotations

import json
import logging
import os
import random
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from monitor.reporting.connection import Connection
from monitor.reporting.delivery import MAX_ROWS, Delivery
from monitor.reporting.spool import EventSpool, Rows
from shared.errors import Unreachable
from shared.events import Envelope

EVENTS_PATH = "/internal/events"
EVENTS_FILE = "events.jsonl"
MAX_BYTES = 4 * 1024 * 1024  # a call, before compression; the dashboard takes 8 MiB
WINDOW_S = 0.1  # between the beginnings of two calls while a run is followed live
# Of the time that live calls may take: on a machine that is busy training they become fewer, and larger.
MAX_SHARE = 0.02
MAX_WINDOW_S = 0.5  # a dashboard that takes long still hears of the run this often
TIMEOUT_S = 10.0  # of one call
DRAIN_S = 5.0  # that the end of a run may wait for what is still to be sent

_log = logging.getLogger(__name__)


class HttpSink:
    """An event sink that reports to a dashboard. It never raises into the run and never makes it wait.

    The thread starts with the first event: workers are forked before that. In a forked copy of the process the sink is
    silent.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        output: Path,
        origin: str = "terminal",
        window_s: float = WINDOW_S,
        drain_s: float = DRAIN_S,
        timeout_s: float = TIMEOUT_S,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        """Report over ``connection``, which is this sink's alone.

        Args:
            connection: To the dashboard.
            output: The folder that holds the run's folder, named by the run's id.
            origin: Who started the run: "terminal" or "dashboard".
            window_s: Seconds between the beginnings of two calls, at the least.
            drain_s: Seconds that ``close`` waits at the most.
            timeout_s: Seconds that one call may take.
            clock: Seconds for pauses.
            rng: Spreads the pauses after failures.
        """
        self._connection = connection
        self._output = output
        self._origin = origin
        self._window_s = window_s
        self._drain_s = drain_s
        self._timeout_s = timeout_s
        self._clock = clock
        self._rng = rng or random.Random()  # noqa: S311 - jitter
        self._news = threading.Event()  # something was written, or the run ends
        self._closing = threading.Event()
        self._abandoned = False
        self._thread: threading.Thread | None = None
        self._pid = 0

    def write(self, envelope: Envelope) -> None:
        """Take note that there is something to send."""
        if self._thread is None:
            self._start(envelope)
        elif os.getpid() != self._pid:  # a forked copy: the thread is not in it, and its lock may be held for ever
            return
        if not self._news.is_set():
            self._news.set()

    def close(self) -> None:
        """Send what is left for some seconds at the most, then end. Harmless when called twice."""
        thread = self._thread
        if thread is None or self._closing.is_set() or os.getpid() != self._pid:
            return
        self._closing.set()
        self._news.set()
        thread.join(self._drain_s)
        if thread.is_alive():
            self._abandoned = True
            self._connection.abort()
            thread.join(1.0)
            _log.warning(
                "%s did not take all events in time; it reads the rest from the run's folder",
                self._connection.destination.url,
            )

    def _start(self, envelope: Envelope) -> None:
        self._pid = os.getpid()
        run_dir = (self._output / envelope.run).resolve()
        source = {
            "run_dir": str(run_dir),
            "pid": self._pid,
            "create_time": psutil.Process().create_time(),
            "host": socket.gethostname(),
            "origin": self._origin,
        }
        head = json.dumps({"source": source, "run": envelope.run})
        self._thread = threading.Thread(
            target=self._serve,
            args=(EventSpool(run_dir / EVENTS_FILE), Delivery(envelope.seq, self._rng), head),
            name="reporting",
            daemon=True,
        )
        self._thread.start()

    def _serve(self, spool: EventSpool, delivery: Delivery, head: str) -> None:
        try:
            self._follow(spool, delivery, head)
        except Exception:  # noqa: BLE001 - the thread's outer loop: whatever it is, the training goes on
            _log.warning("reporting to %s ended", self._connection.destination.url, exc_info=True)
        finally:
            spool.close()
            self._connection.close()

    def _follow(self, spool: EventSpool, delivery: Delivery, head: str) -> None:
        is_last_try = False
        while not self._abandoned:
            if self._closing.is_set():
                if is_last_try and delivery.is_failing:
                    return
                is_last_try = True
            elif self._pause(delivery):
                continue
            self._news.clear()
            rows = self._read(spool, delivery)
            if rows:
                self._send(rows, delivery, head)
            elif self._closing.is_set():
                return
            else:
                self._news.wait()

    def _pause(self, delivery: Delivery) -> bool:
        """Wait until the next call may be made, or the run ends; tells whether it waited."""
        pause = delivery.ready_at - self._clock()
        if pause > 0:
            self._closing.wait(pause)
        return pause > 0

    def _read(self, spool: EventSpool, delivery: Delivery) -> Rows:
        try:
            return spool.read_from(
                delivery.next_seq, max_rows=delivery.max_rows, max_bytes=MAX_BYTES, without=delivery.passed_over
            )
        except OSError as error:
            self._say(delivery.failed(f"events.jsonl cannot be read: {error.strerror or error}", self._clock()))
            return Rows()

    def _send(self, rows: Rows, delivery: Delivery, head: str) -> None:
        began = self._clock()
        body = head[:-1].encode() + b',"events":[' + b",".join(rows.lines) + b"]}"
        try:
            reply = self._connection.post(EVENTS_PATH, body, timeout_s=self._timeout_s)
        except Unreachable as error:
            self._say(delivery.failed(str(error), self._clock()))
            return
        self._say(delivery.answered(rows, reply, self._clock()))
        if rows.last_seq < delivery.next_seq and len(rows.lines) < MAX_ROWS and not delivery.is_failing:
            delivery.ready_at = began + window_s(self._clock() - began, self._window_s)

    def _say(self, sentence: str | None) -> None:
        if sentence:
            _log.warning("the dashboard at %s %s", self._connection.destination.url, sentence)


def window_s(call_s: float, least_s: float) -> float:
    """Return the seconds from the beginning of a call that took ``call_s`` to the next one."""
    return max(least_s, min(MAX_WINDOW_S, call_s / MAX_SHARE)) if least_s else 0.0
