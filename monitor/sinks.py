"""Events to ``events.jsonl`` and back: one JSON object a line, appended, readable after any crash.

Each event is one ``write`` of a whole line to an unbuffered file: after ``kill -9`` the kernel still holds every line,
and at most the line being written is torn. A resumed run repairs that line and goes on counting. Events of a round that
was abandoned stay in the file as history: readers let the later attempt win (``monitor.series``).
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from shared.errors import UsageError
from shared.events import Envelope, JsonValue

_log = logging.getLogger(__name__)
_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"))  # made once: json.dumps makes one a call
_CHUNK_BYTES = 64 * 1024
_MAX_TAIL_BYTES = 8 * 1024 * 1024  # in which the last event is looked for: two of the longest lines there are

Row = dict[str, JsonValue]


class JsonlSink:
    """Appends events to a file. A write that fails is counted and warned about once; the run goes on.

    Attributes:
        path: The file.
        num_missing: Events that could not be written.
    """

    def __init__(self, path: Path) -> None:
        """Open ``path`` for appending and repair what a killed run left at its end.

        Raises:
            UsageError: The file cannot be created or opened.
        """
        self.path = path
        self.num_missing = 0
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise UsageError(
                f"events file {path} cannot be opened: {error.strerror}; choose another --output"
            ) from error
        self._is_open = True
        self._size = _repair_end(self._fd)

    def write(self, envelope: Envelope) -> None:
        """Append one event as one line."""
        if not self._is_open:
            return
        try:
            self._append(_ENCODER.encode(envelope.to_json()).encode("ascii") + b"\n")
        except (OSError, ValueError, TypeError) as error:  # a full disk, or a metric of a client that JSON cannot hold
            self._miss(error)

    def close(self) -> None:
        """Sync and close the file; say how many events are missing, if any."""
        if not self._is_open:
            return
        self._is_open = False
        try:
            os.fsync(self._fd)
        except OSError as error:
            _log.warning("%s may be incomplete on disk: %s", self.path, error)
        finally:
            os.close(self._fd)
        if self.num_missing:
            _log.warning("%d events are missing from %s: they could not be written", self.num_missing, self.path)

    def _append(self, line: bytes) -> None:
        """Write at the end of the last whole line, so that a line cut short by a full disk is overwritten."""
        done = 0
        while done < len(line):
            done += os.pwrite(self._fd, line[done:], self._size + done)
        self._size += len(line)

    def _miss(self, error: Exception) -> None:
        self.num_missing += 1
        with contextlib.suppress(OSError):  # the next write overwrites what is left, and a reader skips it
            os.ftruncate(self._fd, self._size)
        if self.num_missing == 1:
            _log.warning("an event could not be written to %s: %s; training goes on", self.path, error)


def read_events(path: Path) -> Iterator[Row]:
    """Yield the events of a file in order, skipping what is not a whole JSON object (a torn line).

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        for line in file:
            row = parse_row(line)
            if row is not None:
                yield row


def last_seq(path: Path) -> int:
    """Return the number of the last whole event, 0 when there is none: a resumed run goes on at ``last_seq + 1``.

    Raises:
        UsageError: It ends in something that is no event and larger than any: the file is not one of ours.
    """
    if not path.exists():
        return 0
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        tail = 0
        for line in _lines_backwards(file.fileno(), _MAX_TAIL_BYTES):
            tail += len(line)
            seq = (parse_row(line) or {}).get("seq")
            if isinstance(seq, int):
                return seq
    if tail < size:
        raise UsageError(f"{path} ends in {_MAX_TAIL_BYTES:,} bytes without an event; it is no run's events file")
    return 0


def parse_row(line: bytes) -> Row | None:
    """Read one line; None when it is no whole JSON object."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def _repair_end(fd: int) -> int:
    """Finish or drop a last line without line break, and return the file's size: where the next line goes."""
    size = os.fstat(fd).st_size
    tail = next(_lines_backwards(fd), b"")
    if not tail or tail.endswith(b"\n"):
        return size
    if parse_row(tail) is not None:  # whole but for its line break
        return size + os.pwrite(fd, b"\n", size)
    os.ftruncate(fd, size - len(tail))
    return size - len(tail)


def _lines_backwards(fd: int, max_bytes: int | None = None) -> Iterator[bytes]:
    """Yield a file's lines from the last to the first, reading only as much as is asked for, and what is allowed."""
    size = position = os.fstat(fd).st_size
    rest = b""
    while position > 0:
        if max_bytes is not None and size - position >= max_bytes:
            return
        start = max(0, position - _CHUNK_BYTES)
        rest = os.pread(fd, position - start, start) + rest
        position = start
        first, *lines = _split_lines(rest)
        yield from reversed(lines)
        rest = first
    if rest:
        yield rest


def _split_lines(text: bytes) -> list[bytes]:
    *whole, last = text.split(b"\n")
    return [line + b"\n" for line in whole] + ([last] if last else [])
