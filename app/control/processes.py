"""Processes by pid *and* start time: a pid alone is used again, and would name somebody else's process.

Only processes of this machine can be asked about; whoever calls has compared host names before.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from dataclasses import dataclass

import psutil

# psutil derives the start time from the machine's boot time, which clock corrections move by fractions of a second.
_SAME_START_S = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessId:
    """One process of this machine, never mistaken for a later one."""

    pid: int
    create_time: float  # Unix seconds


def this_host() -> str:
    """Return the name that reports carry as their ``host``."""
    return socket.gethostname()


def identify(pid: int) -> ProcessId | None:
    """Return who has this pid now, None when nobody has."""
    try:
        return ProcessId(pid=pid, create_time=psutil.Process(pid).create_time())
    except (psutil.Error, ValueError, OverflowError):
        return None


def find(identity: ProcessId) -> psutil.Process | None:
    """Return the living process; None when it is gone, is only waited for, or its pid is somebody else's by now."""
    try:
        process = psutil.Process(identity.pid)
        if abs(process.create_time() - identity.create_time) > _SAME_START_S:
            return None
        return None if process.status() == psutil.STATUS_ZOMBIE else process
    except (psutil.Error, ValueError, OverflowError):
        return None


def is_alive(identity: ProcessId) -> bool:
    """Tell whether the process lives."""
    return find(identity) is not None


def find_by_argument(argument: str) -> ProcessId | None:
    """Find a process of ours that was started with this argument, and leads its session: a run nobody wrote down."""
    for process in psutil.process_iter(["pid", "cmdline", "create_time", "status", "uids"]):
        facts = process.info
        if hasattr(os, "getuid") and (facts["uids"] is None or facts["uids"].real != os.getuid()):
            continue  # anybody can start something with this argument, and a run that is gone would seem to go on
        if argument in (facts["cmdline"] or ()) and facts["status"] != psutil.STATUS_ZOMBIE:
            with contextlib.suppress(OSError):
                if os.getsid(facts["pid"]) == facts["pid"]:
                    return ProcessId(pid=facts["pid"], create_time=facts["create_time"])
    return None


def family(identity: ProcessId) -> list[psutil.Process]:
    """List the process and all that it started; with it its whole session, where it leads one of its own."""
    process = find(identity)
    if process is None:
        return []
    members = [process]
    with contextlib.suppress(psutil.Error):
        members += process.children(recursive=True)
    known = {member.pid for member in members}
    return members + [member for member in session(identity.pid) if member.pid not in known]


def left_behind(leader: int) -> list[psutil.Process]:
    """List what lives on in a session whose leader is gone.

    While one of them lives, the kernel gives the leader's pid to nobody: is it somebody's, then all are gone.
    """
    return [] if psutil.pid_exists(leader) else session(leader)


def session(leader: int) -> list[psutil.Process]:
    """List the living processes of the session that ``leader`` opened; never of our own."""
    if leader == os.getsid(0):
        return []
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(OSError, psutil.Error):
            if os.getsid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def send(identity: ProcessId, number: signal.Signals) -> bool:
    """Send a signal to that process alone; tells whether it was there."""
    process = find(identity)
    if process is None:
        return False
    try:
        process.send_signal(number)  # psutil looks at the start time again
    except psutil.Error:
        return False
    return True


def kill(members: list[psutil.Process]) -> None:
    """Kill these processes at once; those that are gone are passed over."""
    for member in members:
        with contextlib.suppress(psutil.Error):
            member.kill()
