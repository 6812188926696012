"""Brings run folders into the store whose ``events.jsonl`` is ahead of it: runs that had nobody to report to.

A folder may come from anybody: links are not followed, lines are bounded, rows that are no events are left out with a
warning, rows of another run refuse the whole folder, and the other folders are read all the same.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from app.control.processes import this_host
from app.run_folder import EVENTS_FILE, MODEL_FILE, is_regular_file, run_dirs
from app.storage.store import Store
from app.storage.values import Ingested, RunSource
from monitor.reporting.spool import EventSpool, Rows
from monitor.sinks import Row, last_seq, parse_row
from shared.errors import BadEvent, ConstellationError, NotFound, StoreError

_log = logging.getLogger(__name__)

BATCH_ROWS = 500  # a transaction each: others get their turn between two
_MODEL_PASSES = 12  # in which a model is looked for; a run that was killed has none
_MAX_REFUSED = 20  # rows of one call that are left out; with more the file is not one of ours
_PLACE = re.compile(r"events\[(\d+)\]")
_BATCH_BYTES = 4 * 1024 * 1024
_WITH_MODEL = frozenset({"completed", "stopped", "interrupted"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stamp:
    """What tells that a file did not change."""

    size: int
    mtime_ns: int


class Importer:
    """Reads folders into the store, each from where the store ends.

    Args:
        store: Where the events go.
        output: The folder of run folders.
        on_ingested: Told of what came in, as of what was reported: pages see both alike.
    """

    def __init__(self, store: Store, output: Path, *, on_ingested: Callable[[Ingested], None] | None = None) -> None:
        self._store = store
        self._output = output
        self._on_ingested = on_ingested
        self._lock = threading.Lock()  # one pass at a time, and none beside the end of a run
        self._done: dict[str, _Stamp] = {}  # files that hold nothing new, or nothing good
        self._last_seqs: dict[str, int] = {}  # of the store, at the last pass
        self._models: dict[str, _Stamp] = {}  # in the store already
        self._models_sought: dict[str, int] = {}  # of imported runs: passes left

    def scan(self) -> int:
        """Look at every run's folder once and return how many events were new.

        A run whose events move in the store is reporting them itself and is left alone.
        """
        try:
            folders = run_dirs(self._output)
        except ConstellationError as error:
            _log.warning("runs cannot be imported: %s", error)
            return 0
        num_new = 0
        for run_dir in folders:
            with self._lock:
                known = self._last_seq(run_dir.name)
                if known and self._last_seqs.get(run_dir.name) != known and run_dir.name in self._last_seqs:
                    self._last_seqs[run_dir.name] = known
                    continue
                num_found = self._import(run_dir.name, run_dir)
                num_new += num_found
            self._seek_model(run_dir, is_news=num_found > 0)
        return num_new

    def catch_up(self, run_id: str, run_dir: Path) -> int:
        """Bring one run's events into the store and return how many were new."""
        with self._lock:
            return self._import(run_id, run_dir)

    def keep_model(self, run_id: str, run_dir: Path) -> bool:
        """Put the model of a run that ended into the store; False while there is none to be put.

        The model is written after the run's last event, so whoever hears of the end asks again until it is there.
        """
        path = run_dir / MODEL_FILE
        stamp = _stamp_of(path)
        try:
            run = self._store.run(run_id)
            if run.state not in _WITH_MODEL:
                return run.state == "failed"  # leaves no model
            if stamp is None or stamp.mtime_ns / 1e9 < (run.ended_ts or 0.0) - 1.0:  # none, or that of an earlier end
                return False
            if self._models.get(run_id) != stamp:
                self._store.put_model(run_id, run.rounds_completed, path)
                self._models[run_id] = stamp
        except (ConstellationError, OSError) as error:
            _log.warning("the model of run %s cannot be kept: %s", run_id, error)
        return True

    def _seek_model(self, run_dir: Path, *, is_news: bool) -> None:
        """Put the model of an imported run into the store, during some passes: it may be written after the events."""
        if is_news:
            self._models_sought[run_dir.name] = _MODEL_PASSES
        left = self._models_sought.pop(run_dir.name, 0)
        if left and not self.keep_model(run_dir.name, run_dir):
            self._models_sought[run_dir.name] = left - 1

    def _import(self, run_id: str, run_dir: Path) -> int:
        path = run_dir / EVENTS_FILE
        stamp = _stamp_of(path)
        if stamp is None or self._done.get(run_id) == stamp:
            return 0
        try:
            num_new = self._read(run_id, run_dir, path)
        except (ConstellationError, OSError) as error:
            _log.warning("%s cannot be imported: %s", run_dir, error)
            num_new = 0
        self._done[run_id] = stamp  # what was wrong with it stays wrong until it changes
        self._last_seqs[run_id] = self._last_seq(run_id)
        return num_new

    def _read(self, run_id: str, run_dir: Path, path: Path) -> int:
        known = self._last_seq(run_id)
        newest = last_seq(path)  # of now: a run that writes faster than we read is not chased for ever
        if newest <= known:
            return 0
        source = RunSource(
            run_dir=str(run_dir.resolve()), pid=None, create_time=None, host=this_host(), origin="import"
        )
        spool = EventSpool(path)
        num_new = 0
        try:
            # Each call begins with the last event before it: a hole in the file then lies inside a call, and passes.
            before: list[Row] = []
            first = max(1, known)
            while first <= newest:
                found = spool.read_from(first, max_rows=BATCH_ROWS, max_bytes=_BATCH_BYTES)
                if not found:
                    break
                rows = before + _rows_of(found, run_id)
                first = found.last_seq + 1
                if not rows:
                    continue
                ingested = self._ingest(run_id, rows, source)
                num_new += len(ingested.events)
                if self._on_ingested is not None and ingested.events:
                    self._on_ingested(ingested)
                before = rows[-1:]
        finally:
            spool.close()
        return num_new

    def _ingest(self, run_id: str, rows: list[Row], source: RunSource) -> Ingested:
        """Bring rows in, without the few that the store refuses: one client's nonsense must not hide a whole run.

        Raises:
            BadEvent: Too many are refused.
        """
        left = list(rows)
        for _ in range(_MAX_REFUSED):
            try:
                return self._store.ingest(run_id, left, source)
            except BadEvent as error:
                place = _PLACE.match(error.field)
                if place is None or int(place[1]) >= len(left):
                    raise
                _log.warning("an event of run %s is left out: %s", run_id, error)
                del left[int(place[1])]
        return self._store.ingest(run_id, left, source)

    def _last_seq(self, run_id: str) -> int:
        try:
            return self._store.run_process(run_id).last_seq
        except NotFound:
            return 0


def _rows_of(found: Rows, run_id: str) -> list[Row]:
    """Parse lines; what is no JSON object is passed over, as every reader of the file does.

    Raises:
        StoreError: An event belongs to another run.
    """
    rows = [row for line in found.lines if (row := parse_row(line)) is not None]
    for row in rows:
        if row.get("run") != run_id:
            raise StoreError(f"{EVENTS_FILE} holds events of run {str(row.get('run'))[:100]!r}")
    return rows


def _stamp_of(path: Path) -> _Stamp | None:
    """Return the size and time of a regular file; None when it is none: a link is not followed."""
    if not is_regular_file(path):
        return None
    try:
        status = path.lstat()
    except OSError:
        return None
    return _Stamp(size=status.st_size, mtime_ns=status.st_mtime_ns)
