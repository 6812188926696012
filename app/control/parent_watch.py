"""Ends a process with the one that started it, however that one ends: kill -9 leaves nobody to say goodbye."""

from __future__ import annotations

import threading
from collections.abc import Callable

from app.control.processes import ProcessId, is_alive

LOOK_S = 0.5


class ParentWatch:
    """Looks whether the parent lives, from a thread, and calls ``on_gone`` once when it does not."""

    def __init__(self, parent: ProcessId, on_gone: Callable[[], None], *, look_s: float = LOOK_S) -> None:
        self._parent = parent
        self._on_gone = on_gone
        self._look_s = look_s
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="parent-watch", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def close(self) -> None:
        """Look no longer."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        while not self._closed.is_set():
            if not is_alive(self._parent):
                self._on_gone()
                return
            self._closed.wait(self._look_s)
