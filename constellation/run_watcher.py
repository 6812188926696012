"""Follows a run that a ServerApp of this machine works on: passes its events on, and knows when it is over."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

from app.engine.control import Control, Desired, write_control
from app.engine.federation import Federation
from constellation import folders
from constellation.event_stream import EventStream
from shared.errors import RunFailed
from shared.events import EventSink, RunEnded

_LOOK_S = 0.1  # between looks at the run's events
_GONE_AFTER_S = 20.0  # without a ServerApp: Flower starts it within seconds, and it is gone for good then
_LAST_WORDS_S = 30.0  # for the ServerApp to write the report after the last event


class RunWatcher:
    """Follows a run from outside until it is over."""

    def __init__(
        self, folder: Path, sinks: list[EventSink], control: Control | None, tick: Callable[[], None] | None
    ) -> None:
        self._folder = folder
        self._sinks = sinks
        self._control = control
        self._tick = tick
        self._desired = Desired.RUN
        self._stream = EventStream(folder / folders.EVENTS_FILE)
        self.ended: RunEnded | None = None

    def sleep(self, seconds: float) -> None:
        """Wait, with a view that goes on ticking."""
        if self._tick is not None:
            self._tick()
        time.sleep(seconds)

    def watch(self, federation: Federation, flower_run: str) -> None:
        """Pass events on until the run is over and its results are written.

        Raises:
            RunFailed: The ServerApp or the SuperLink is gone and the run is not over.
        """
        last_seen = time.monotonic()
        next_check = last_seen + 2.0
        while self.ended is None:
            self.look()
            self._steer()
            if (now := time.monotonic()) >= next_check and self.ended is None:
                next_check = now + 2.0
                last_seen = now if federation.server_apps() else last_seen
                if not federation.superlink.is_running:
                    raise RunFailed(f"the SuperLink ended: {federation.superlink.last_lines(5)}")
                if now - last_seen > _GONE_AFTER_S:
                    self.look()
                    if self.ended is None:
                        raise RunFailed(f"the ServerApp ended: {federation.details_of(flower_run)}")
            self.sleep(_LOOK_S)
        self.wait_for_results(federation)

    def look(self) -> None:
        """Pass on what was written since the last look."""
        for envelope in self._stream.new():
            for sink in self._sinks:
                sink.write(envelope)
            if isinstance(envelope.event, RunEnded):
                self.ended = envelope.event

    def wait_for_results(self, federation: Federation) -> None:
        """Let the ServerApp finish its report."""
        deadline = time.monotonic() + _LAST_WORDS_S
        while federation.server_apps() and time.monotonic() < deadline:
            if (self._folder / folders.RESULT_FILE).exists():
                return
            self.sleep(_LOOK_S)

    def _steer(self) -> None:
        """Hand on what whoever steers the run in this process wants, when that changes."""
        if self._control is not None and (desired := self._control.desired()) is not self._desired:
            self._desired = desired
            write_control(self._folder, desired)

    def interrupt(self, federation: Federation) -> None:
        """Let the ServerApp close the run as interrupted."""
        for process in federation.server_apps():
            with suppress(psutil.Error):
                process.terminate()
        deadline = time.monotonic() + _LAST_WORDS_S
        while self.ended is None and federation.server_apps() and time.monotonic() < deadline:
            time.sleep(_LOOK_S)
            self.look()
        self.look()
        self.wait_for_results(federation)
