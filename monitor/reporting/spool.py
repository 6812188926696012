"""Reads a run's ``events.jsonl`` while it grows, from any event on: the queue between a run and its dashboard.

The run writes each event to the file before anything is sent, so a queue in memory would only be a second copy that can
overflow. What is kept here is a position, and a sparse index of positions to go back to, of bounded size.
"""

from __future__ import annotations

import bisect
import errno
import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

MAX_LINE_BYTES = 4 * 1024 * 1024  # half of what the dashboard takes in one call; ours are a few hundred kB at the most
MAX_PASSED_OVER_BYTES = 64 * 1024 * 1024  # of one line; a hole of terabytes costs its maker nothing
MAX_INDEX = 4096  # entries; beyond, every other one is dropped
_SEQ_FIRST = re.compile(rb'\{"seq":([1-9]\d{0,17}),')  # as our sink writes it: found without parsing the line


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Some events in order, as the lines that hold them, without line breaks."""

    lines: tuple[bytes, ...] = ()
    seqs: tuple[int, ...] = ()  # the number of each

    @property
    def first_seq(self) -> int:
        """Number of the first event, 0 when there is none."""
        return self.seqs[0] if self.seqs else 0

    @property
    def last_seq(self) -> int:
        """Number of the last event, 0 when there is none."""
        return self.seqs[-1] if self.seqs else 0

    def __bool__(self) -> bool:
        return bool(self.lines)


class EventSpool:
    """A reader of one growing file. Lines that are torn, no events, or out of order are passed over.

    Attributes:
        num_skipped: Whole lines that were passed over because they are too long or no events.
    """

    def __init__(self, path: Path, *, stride: int = 256) -> None:
        """Read ``path``, which need not exist yet; the index gets an entry each ``stride`` events."""
        self._path = path
        self._file: BinaryIO | None = None
        self._offset = 0  # of the next line to read
        self._last_seq = 0  # of the last line before it
        self._stride = stride
        self._index: list[tuple[int, int]] = []  # (seq, offset of its line)
        self._since_index = 0
        self.num_skipped = 0

    def read_from(self, seq: int, *, max_rows: int, max_bytes: int, without: Collection[int] = frozenset()) -> Rows:
        """Return events from number ``seq`` on, as far as they are there.

        Args:
            seq: The first one wanted; when it is missing from the file, the next one that is there.
            max_rows: At most so many.
            max_bytes: Of lines together, but at least one line is returned.
            without: Events that are left out.

        Raises:
            OSError: The file cannot be read.
        """
        if self._file is None:
            if not self._path.exists():
                return Rows()
            self._file = self._path.open("rb", buffering=128 * 1024)
        if seq <= self._last_seq:
            self._go_back(seq)
        lines: list[bytes] = []
        seqs: list[int] = []
        size = 0
        while len(lines) < max_rows:
            at, before = self._offset, self._last_seq
            line = self._next_line()
            if line is None:
                break
            if self._last_seq < seq or self._last_seq == before or self._last_seq in without:
                continue
            size += len(line)
            if lines and size > max_bytes:
                self._offset, self._last_seq = at, before
                break
            lines.append(line)
            seqs.append(self._last_seq)
        return Rows(lines=tuple(lines), seqs=tuple(seqs))

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _next_line(self) -> bytes | None:
        """Read one line and move behind it; None at the end, or where a line is still being written."""
        assert self._file is not None
        self._file.seek(self._offset)
        line = self._file.readline(MAX_LINE_BYTES)
        if not line.endswith(b"\n"):
            if len(line) < MAX_LINE_BYTES or not self._pass_over_long_line():
                return None
            return b""
        start = self._offset
        self._offset += len(line)
        line = line.rstrip()
        seq = _seq_of(line)
        if seq is None or seq <= self._last_seq:
            self.num_skipped += seq is None
            return b""
        self._last_seq = seq
        self._remember(seq, start)
        return line

    def _pass_over_long_line(self) -> bool:
        """Move behind a line that is too long; its number stays unsent, as if it had never been written."""
        assert self._file is not None
        while (part := self._file.readline(MAX_LINE_BYTES)) and not part.endswith(b"\n"):
            if self._file.tell() - self._offset > MAX_PASSED_OVER_BYTES:
                raise OSError(errno.EFBIG, "a line of it is longer than any event", str(self._path))
        if not part:
            return False
        self._offset = self._file.tell()
        self.num_skipped += 1
        return True

    def _remember(self, seq: int, offset: int) -> None:
        if self._index and seq <= self._index[-1][0]:
            return
        self._since_index += 1
        if self._index and self._since_index < self._stride:
            return
        self._index.append((seq, offset))
        self._since_index = 0
        if len(self._index) > MAX_INDEX:
            self._index = self._index[::2]
            self._stride *= 2

    def _go_back(self, seq: int) -> None:
        place = bisect.bisect_right(self._index, seq, key=lambda entry: entry[0]) - 1
        found, self._offset = self._index[place] if place >= 0 else (1, 0)
        self._last_seq = found - 1


def _seq_of(line: bytes) -> int | None:
    """Return the number of the event that a line holds, None when it holds none."""
    match = _SEQ_FIRST.match(line)
    if match and line.endswith(b"}"):
        return int(match[1])
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    seq = row.get("seq") if isinstance(row, dict) else None
    return seq if isinstance(seq, int) and not isinstance(seq, bool) and seq > 0 else None
