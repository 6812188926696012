"""What became of a run whose process is gone without saying so: a pure decision."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import Literal

_INTERRUPTED_CODE = 130  # of the command that was ended by Ctrl-C or SIGTERM


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known of a process that is gone and whose run has no last event."""

    exit_code: int | None  # None where it was not our child; negative: the signal that ended it
    said: str  # the last line of its log
    had_begun: bool  # its first event is there
    was_asked_to_stop: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """The state to write down, and why."""

    state: Literal["stopped", "failed", "interrupted"]
    reason: str = ""
    error: str = ""


def judge(seen: Evidence) -> Ending:
    """Say how the run ended: only what the run itself did wrong is a failure; what was cut off can go on."""
    code = seen.exit_code
    if seen.was_asked_to_stop:
        return Ending(state="stopped", reason="ended by force after it was asked to stop; resume goes on with it")
    if code is not None and code < 0:
        return Ending(state="interrupted", reason=f"its process was ended by {_name(-code)}; resume goes on with it")
    if code == _INTERRUPTED_CODE:
        return Ending(state="interrupted", reason="its process was interrupted; resume goes on with it")
    if code:
        return Ending(state="failed", error=seen.said or f"its process ended with exit code {code} and said nothing")
    if code == 0:
        return Ending(state="failed", error="its process ended without closing the run; look at its log")
    if not seen.had_begun and seen.said:
        return Ending(state="failed", error=seen.said)
    return Ending(state="interrupted", reason="its process is gone; resume goes on with it")


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
