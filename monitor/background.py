"""Lets a slow sink work in a thread of its own, so that the run never waits for it."""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Callable

from shared.events import Envelope, Event, EventSink

MAX_WAITING = 10_000  # events; a sink that is so far behind loses what comes then, and says so
DRAIN_S = 30.0  # that the end of a run may wait: MLflow takes seconds to make its first database

_log = logging.getLogger(__name__)


class InBackground:
    """An event sink before a slow one, which is made, written and closed in one thread.

    The thread starts with the first event: workers are forked before that. A sink that fails is given up; the run goes
    on.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[], EventSink],
        *,
        wanted: Callable[[Event], bool],
        max_waiting: int = MAX_WAITING,
        drain_s: float = DRAIN_S,
    ) -> None:
        """Pass events on to what ``make`` returns.

        Args:
            name: What a person calls it, for warnings.
            make: Makes the slow sink, in the thread.
            wanted: Events for which this is false are not passed on.
            max_waiting: Events that may wait.
            drain_s: Seconds that ``close`` waits at the most.
        """
        self._name = name
        self._make = make
        self._wanted = wanted
        self._drain_s = drain_s
        self._waiting: queue.Queue[Envelope | None] = queue.Queue(max_waiting + 1)  # and one place for the end
        self._max_waiting = max_waiting
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._num_lost = 0
        self._is_closed = False

    def write(self, envelope: Envelope) -> None:
        """Queue one event; when too many wait it is lost, and counted."""
        if self._is_closed or not self._wanted(envelope.event):
            return
        if self._thread is None:
            self._pid = os.getpid()
            self._thread = threading.Thread(target=self._serve, name=self._name, daemon=True)
            self._thread.start()
        elif os.getpid() != self._pid:
            return
        if self._waiting.qsize() >= self._max_waiting:
            self._num_lost += 1
        else:
            self._waiting.put_nowait(envelope)

    def close(self) -> None:
        """Wait for what is queued, some seconds at the most. Harmless when called twice."""
        if self._is_closed or self._thread is None or os.getpid() != self._pid:
            return
        self._is_closed = True
        self._waiting.put_nowait(None)
        self._thread.join(self._drain_s)
        if self._thread.is_alive():
            _log.warning("%s did not take all events within %g s; the run ends without it", self._name, self._drain_s)
        if self._num_lost:
            _log.warning("%s was too slow: %d events are missing from it", self._name, self._num_lost)

    def _serve(self) -> None:
        try:
            sink = self._make()
            try:
                while (envelope := self._waiting.get()) is not None:
                    sink.write(envelope)
            finally:
                sink.close()
        except Exception as error:  # noqa: BLE001 - the thread's outer loop around a foreign library: training goes on
            _log.warning("%s gets no more events: %s: %s", self._name, type(error).__name__, error)
            self._is_closed = True
