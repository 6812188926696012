"""The threads of supervisor, importer and previews, in the process that serves the pages."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from app.control.importer import Importer
from app.control.previews import Previews
from app.control.supervisor import RunSupervisor

_log = logging.getLogger(__name__)

TICK_S = 0.5  # how soon an ended run is noticed, and the next one started
IMPORT_S = 5.0  # how soon a run that reports to nobody appears
_IDLE_CHECK_S = 10.0
_END_S = 2.0


class Background:
    """Adopts runs, then looks after them and imports folders until it is closed."""

    def __init__(
        self,
        supervisor: RunSupervisor,
        importer: Importer,
        previews: Previews,
        *,
        tick_s: float = TICK_S,
        import_s: float = IMPORT_S,
    ) -> None:
        self._supervisor = supervisor
        self._previews = previews
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=self._repeat, args=(supervisor.tick, tick_s), name="supervisor", daemon=True),
            threading.Thread(target=self._repeat, args=(importer.scan, import_s), name="importer", daemon=True),
            threading.Thread(target=self._repeat, args=(previews.tick, _IDLE_CHECK_S), name="previews", daemon=True),
        ]

    def __enter__(self) -> Self:
        """Start."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """End the threads; the runs go on."""
        self._ended.set()
        for thread in self._threads:
            thread.join(_END_S)  # a long import is given up with the process; the next one goes on with it
        self._previews.close()
        self._supervisor.close()

    def _repeat(self, do: Callable[[], object], pause_s: float) -> None:
        while not self._ended.is_set():
            try:
                do()
            except Exception:  # noqa: BLE001 - the thread's outer loop: a database that is away for a moment must not end it
                _log.exception("looking after the runs failed; it is tried again")
            self._ended.wait(pause_s)
