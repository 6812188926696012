"""Tells viewers of news: one thread, at most four messages a second and room.

Whoever changes something says so (``ingested``, ``run_changed``) and goes on; what is sent is read from the store when
it is sent, so a slow database or many changes cost fewer messages, not more work.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Protocol, Self

from app.storage.store import Store
from app.storage.values import Ingested
from app.storage.views import EventView
from app.web.live.coalescer import Coalescer
from app.web.live.messages import MAX_EVENTS, events_message, run_message, runs_message
from app.web.live.rooms import EVENTS, OVERVIEW, Message, plain, run_of, run_room
from app.web.live.viewers import Viewers
from shared.errors import ConstellationError, NotFound

_log = logging.getLogger(__name__)

STATUS, METRICS = "status", "metrics"  # not rooms of their own: what overview is told beside its own messages
_METRIC_EVENTS = frozenset({"model-evaluated", "clients-evaluated", "round-closed", "phase-ended"})
_LONGEST_WAIT_S = 1.0  # between two looks at who is still there
_KEPT_RUNS = 10_000  # of whom the last message's number is remembered; beyond, a delta repeats what is known


class Emit(Protocol):
    """Sends one event to a room: Socket.IO's ``emit``."""

    def __call__(self, event: str, data: Mapping[str, Any], *, to: str) -> None:
        """Send."""


class LiveHub:
    """Collects news and sends them. A context manager: its thread lives inside."""

    def __init__(
        self,
        store: Store,
        viewers: Viewers,
        emit: Emit,
        *,
        status: Callable[[], Mapping[str, Any]],
        metrics: Callable[[], Mapping[str, Any]],
        on_tick: Callable[[], None] = lambda: None,
        is_shared: bool = False,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        """``is_shared``: other processes have viewers too, so rooms that seem empty are told all the same."""
        self._store = store
        self._viewers = viewers
        self._emit = emit
        self._status = status
        self._metrics = metrics
        self._on_tick = on_tick
        self._is_shared = is_shared
        self._clock = clock
        self._now = now
        self._coalescer = Coalescer()
        self._changed_runs: dict[str, None] = {}
        self._new_events: deque[EventView] = deque(maxlen=MAX_EVENTS)
        self._started: list[tuple[str, str]] = []  # (event name, run id)
        self._told_seq: dict[str, int] = {}  # run -> up to where its room knows everything
        self._known_seq: dict[str, int] = {}  # run -> its newest event, until its room is told
        self._last_id = 0
        self._condition = threading.Condition()
        self._is_ended = False
        self._thread = threading.Thread(target=self._run, name="live-hub", daemon=True)

    def __enter__(self) -> Self:
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """End the thread."""
        self.close()

    def close(self) -> None:
        """End the thread; what was not sent yet is in the store."""
        with self._condition:
            self._is_ended = True
            self._condition.notify()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    @property
    def num_viewers(self) -> int:
        """Return how many watch."""
        return len(self._viewers)

    def ingested(self, ingested: Ingested) -> None:
        """Note that events came in."""
        if not ingested.events:
            return
        with self._condition:
            for event in ingested.events:
                self._note(event, ingested)
            self._new_events.extend(ingested.events)
            self._last_id = max(self._last_id, ingested.events[-1].id)
            self._touch(EVENTS, OVERVIEW, STATUS)

    def run_changed(self, run_id: str) -> None:
        """Note that a run was made or steered, or that its process is gone."""
        with self._condition:
            self._changed_runs.setdefault(run_id)
            self._touch(OVERVIEW, STATUS, run_room(run_id))

    def run_sampled(self, run_id: str) -> None:
        """Note new samples of a run's processes."""
        with self._condition:
            self._touch(run_room(run_id))

    def viewers_changed(self) -> None:
        """Note that somebody came or went."""
        with self._condition:
            self._touch(STATUS)

    def flush(self) -> None:
        """Send what is due now."""
        with self._condition:
            rooms = self._coalescer.due(self._clock())
        for room in rooms:
            try:
                for name, data, to in self._news_of(room):
                    self._emit(name, data, to=to)
            except ConstellationError as error:  # a store that is away: the other rooms may not need it
                _log.warning("room %s could not be told: %s; it is told with its next news", room, error)

    def _note(self, event: EventView, ingested: Ingested) -> None:
        room = run_room(event.run)
        # A room's first news begins where the store was before this batch.
        self._told_seq.setdefault(event.run, ingested.events[0].seq - 1)
        self._known_seq[event.run] = event.seq
        self._changed_runs.setdefault(event.run)
        self._coalescer.touch(room)
        if event.type in _METRIC_EVENTS:
            self._coalescer.touch(METRICS)
        if event.type == "run-started":
            self._started.append(("training_started", event.run))
        elif event.type == "run-ended":
            self._started.append(("training_stopped", event.run))

    def _touch(self, *rooms: str) -> None:
        for room in rooms:
            self._coalescer.touch(room)
        self._condition.notify()

    def _news_of(self, room: str) -> list[tuple[str, Mapping[str, Any], str]]:
        """Return (event, payload, room) of what a room is told."""
        if room == STATUS:
            return [("status_update", self._status(), OVERVIEW)] if self._is_watched(OVERVIEW) else []
        if room == METRICS:
            return [("metrics_update", self._metrics(), OVERVIEW)] if self._is_watched(OVERVIEW) else []
        run_id = run_of(room)
        if run_id is not None:
            return self._run_news(room, run_id)
        return self._overview_news() if room == OVERVIEW else self._event_news()

    def _run_news(self, room: str, run_id: str) -> list[tuple[str, Mapping[str, Any], str]]:
        with self._condition:
            after, known = self._told_seq.get(run_id), self._known_seq.pop(run_id, None)
        if not self._is_watched(room):
            # Whoever subscribes from now on is brought up to date from the number it names.
            if known is not None:
                self._told(run_id, known)
            return []
        try:
            message = run_message(self._store, run_id, after if after is not None else self._store.run(run_id).last_seq)
        except NotFound:
            return []
        self._told(run_id, message.seq)
        return [self._update(message)]

    def _overview_news(self) -> list[tuple[str, Mapping[str, Any], str]]:
        with self._condition:
            changed, self._changed_runs = self._changed_runs, {}
            started, self._started = self._started, []
            last_id = self._last_id
        if not self._is_watched(OVERVIEW):
            return []
        news = [self._update(runs_message(self._store, changed, last_id))]
        for name, run_id in started:
            try:
                news.append((name, plain(self._store.run(run_id)), OVERVIEW))
            except NotFound:
                continue
        return news

    def _event_news(self) -> list[tuple[str, Mapping[str, Any], str]]:
        with self._condition:
            events = list(self._new_events)
            self._new_events.clear()
        if not events or not self._is_watched(EVENTS):
            return []
        return [self._update(events_message(events, events[-1].id))]

    def _told(self, run_id: str, seq: int) -> None:
        with self._condition:
            self._told_seq.pop(run_id, None)
            self._told_seq[run_id] = seq
            while len(self._told_seq) > _KEPT_RUNS:
                del self._told_seq[next(iter(self._told_seq))]

    def _update(self, message: Message) -> tuple[str, Mapping[str, Any], str]:
        return ("update", message.to_json(self._now()), message.room)

    def _is_watched(self, room: str) -> bool:
        return self._is_shared or self._viewers.is_watched(room)

    def _run(self) -> None:
        while not self._is_ended:
            with self._condition:
                wait = self._coalescer.wait_s(self._clock())
                if not self._is_ended and wait != 0:
                    self._condition.wait(_LONGEST_WAIT_S if wait is None else min(_LONGEST_WAIT_S, wait))
            try:
                self.flush()
                self._on_tick()
            except Exception:  # noqa: BLE001 - the thread's outer loop: a store that is away for a moment must not end it
                _log.exception("viewers could not be told; they are told with the next news")
