"""Ends every process that a test left behind: those with its folder on their command line, and their sessions."""

from __future__ import annotations

from pathlib import Path

import psutil

from app.control import processes


def sweep(folder: Path) -> None:
    """Kill them and wait for the end of each."""
    leaders = processes_over(folder)
    members = [member for leader in leaders for member in (leader, *processes.session(leader.pid))]
    processes.kill(members)
    psutil.wait_procs(members)


def processes_over(folder: Path) -> list[psutil.Process]:
    """List the living processes that were started with this folder, or something in it, as an argument."""
    return [
        process
        for process in psutil.process_iter(["cmdline", "status"])
        if process.info["status"] != psutil.STATUS_ZOMBIE
        and any(argument.startswith(str(folder)) for argument in process.info["cmdline"] or ())
    ]
