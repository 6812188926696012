"""How a run is steered from outside: pause, resume and stop."""

from __future__ import annotations

import os
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Protocol

CONTROL_FILE = "control"


class Desired(StrEnum):
    """What whoever steers the run wants it to do."""

    RUN = "run"
    PAUSE = "pause"
    STOP = "stop"


class Control(Protocol):
    """Asked between phases and while a phase collects replies; must be quick and never raise."""

    def desired(self) -> Desired:
        """Return what the run should do now."""


class FreeRun:
    """Nobody steers."""

    def desired(self) -> Desired:
        """Go on."""
        return Desired.RUN


class FileControl:
    """Reads ``run``, ``pause`` or ``stop`` from a file in the run's folder; no file, or another word, means run."""

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / CONTROL_FILE

    def desired(self) -> Desired:
        """Return what the file says."""
        if not os.access(self._path, os.F_OK):  # as a rule there is none, and an exception is dear
            return Desired.RUN
        try:
            return Desired(self._path.read_text(encoding="utf-8").strip())
        except (OSError, ValueError):
            return Desired.RUN


class Ticking:
    """A control that calls a function whenever it is asked: a view can redraw its clock in a loop that waits."""

    def __init__(self, control: Control, tick: Callable[[], None]) -> None:
        self._control = control
        self._tick = tick

    def desired(self) -> Desired:
        """Tick, and return what the control says."""
        self._tick()
        return self._control.desired()


def ticking(control: Control, tick: Callable[[], None] | None) -> Control:
    """Let ``tick`` be called whenever the control is asked; nothing changes without one."""
    return Ticking(control, tick) if tick is not None else control


def forget_control(run_dir: Path) -> None:
    """Drop what an earlier start of the run was asked: a stop that it obeyed would stop the next one at once."""
    (run_dir / CONTROL_FILE).unlink(missing_ok=True)


def write_control(run_dir: Path, desired: Desired) -> None:
    """Ask the run in ``run_dir`` to pause, go on or stop."""
    fresh = run_dir / f".{CONTROL_FILE}-{os.getpid()}"
    fresh.write_text(desired.value + "\n", encoding="utf-8")
    fresh.replace(run_dir / CONTROL_FILE)
