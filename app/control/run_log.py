"""What a run printed: the last lines of ``run.log``, which may be huge or hold anything."""

from __future__ import annotations

import os
import re
import stat
from datetime import datetime
from pathlib import Path

from monitor.words import clean

LOG_FILE = "run.log"
MAX_TAIL_BYTES = 256 * 1024  # read from the end: a log of gigabytes costs no more
MAX_LINE = 2_000  # characters of a line
_MAX_ERROR = 500  # characters: one sentence for a table
_START = "--- started "
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def tail(run_dir: Path, num_lines: int) -> list[str]:
    """Return the last lines, fit to be shown; [] when there is no log. A link in its place is not followed."""
    try:
        descriptor = os.open(run_dir / LOG_FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return []
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return []
        start = max(0, status.st_size - MAX_TAIL_BYTES)
        file.seek(start)
        text = file.read(MAX_TAIL_BYTES).decode("utf-8", "replace")
    lines = text.splitlines()
    if start and lines:
        lines = lines[1:]  # it began in the middle of one
    return [clean(_COLOURS.sub("", line), MAX_LINE) for line in lines[-num_lines:]] if num_lines > 0 else []


def last_line(run_dir: Path) -> str:
    """Return the last line that says something, without its ``error:``; "" when nothing was said."""
    for line in reversed(tail(run_dir, 200)):
        if line.startswith(_START):
            break  # what an earlier start said is not why this one ended
        said = line.strip().removeprefix("error:").strip()
        if said:
            return clean(said, _MAX_ERROR)
    return ""


def open_log(run_dir: Path, when: datetime) -> int:
    """Open the log for appending, note that a start follows, and return the descriptor.

    Raises:
        OSError: It cannot be written, or a link stands in its place.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(run_dir / LOG_FILE, flags, 0o640)
    try:
        os.write(descriptor, f"{_START}{when:%Y-%m-%d %H:%M:%S} UTC\n".encode())
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
