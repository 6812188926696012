"""Persistent worker processes that answer tasks: longest first, one at a time each, replaced when they die.

One thread a worker writes its tasks and reads its answers, so that workers stay busy while the caller verifies and
aggregates. Payloads that many tasks share (the global model) are sent to a worker once and kept there for a while.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
import sys
import threading
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgpack

from app.engine.frames import Part, receive_frame, send_frame
from app.engine.worker import MAX_BLOBS, OK, READY
from app.engine.zygote import WorkerSource
from shared.errors import WorkerError

# A second task waits in a worker's socket while many are queued, so that it never idles for the time the caller's
# thread holds the interpreter; it must fit the socket's buffer (208 KiB on Linux), or both ends could block writing.
_PREFETCH_BYTES = 64 * 1024
_PREFETCH_QUEUE = 4  # tasks waiting for each worker from which on a second one is sent ahead
_MAX_FAILED_STARTS = 3  # a worker that dies before it is ready, so many times in a row, ends the pool's patience


def num_cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


class Blob:
    """A payload that many tasks share; the same object is sent to each worker once."""

    _ids = itertools.count(1)

    def __init__(self, data: Part) -> None:
        self.data = data
        self.id = next(self._ids)


@dataclass(slots=True, kw_only=True, eq=False)
class Task:
    """Something for a worker to do."""

    ticket: str  # the caller's name for it
    kind: str
    head: bytes
    blobs: Sequence[Blob] = ()
    cost: float = 0.0  # dearer tasks go first: the last to finish is then a cheap one


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A task's answer, or why there is none."""

    ticket: str
    parts: Sequence[memoryview] = ()
    seconds: float = 0.0  # in the worker
    error: str | None = None  # what the worker's code raised, or that its process died
    is_crash: bool = False


@dataclass(slots=True, eq=False)
class _Worker:
    sock: socket.socket
    pid: int
    known_blobs: OrderedDict[int, None] = field(default_factory=OrderedDict)
    inflight: deque[Task] = field(default_factory=deque)
    is_ready: bool = False
    is_ended: bool = False  # by us, because nobody wants what it was doing


class WorkerPool:
    """A fixed number of workers; tasks in, outcomes out. All methods may be called from any thread."""

    def __init__(self, source: WorkerSource, num_workers: int) -> None:
        """Start the workers.

        Raises:
            WorkerError: A worker cannot be started.
        """
        self.num_workers = num_workers
        self._source = source
        self._changed = threading.Condition()
        self._queue: list[Task] = []  # dearest last, taken from the end
        self._cancelled: set[str] = set()
        self._outcomes: deque[Outcome] = deque()
        self._num_open = 0
        self._is_closing = False
        self._failure: str | None = None
        self._workers: list[_Worker] = []
        try:
            for _ in range(num_workers):
                self._workers.append(_Worker(*source.start_worker()))
        except WorkerError:
            source.close()
            raise
        self._threads = [
            threading.Thread(target=self._serve, args=(index,), name=f"worker-{index}", daemon=True)
            for index in range(num_workers)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def pids(self) -> list[int]:
        """Process ids of the living workers."""
        with self._changed:
            return [worker.pid for worker in self._workers]

    def submit(self, tasks: Sequence[Task]) -> None:
        """Queue tasks; the dearest of all that wait go first, ties in the order they came."""
        with self._changed:
            self._queue = sorted([*reversed(tasks), *self._queue], key=lambda task: task.cost)
            self._num_open += len(tasks)
            self._changed.notify_all()

    def wait(self, timeout_s: float) -> list[Outcome]:
        """Return what has been answered, waiting up to ``timeout_s`` for the first; empty when nothing came.

        Raises:
            WorkerError: Workers cannot be kept alive, or the pool was closed.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._outcomes or self._failure or self._is_closing or not self._num_open, timeout_s
            )
            found = list(self._outcomes)
            self._outcomes.clear()
            if not found and self._is_closing:
                raise WorkerError("the workers were ended before they had answered")
            if not found and self._failure:
                raise WorkerError(self._failure)
            return found

    def cancel(self, tickets: Sequence[str]) -> None:
        """Forget tasks: those that wait are dropped, and a worker that runs one is ended and replaced.

        Else a client that hangs would hold its worker for the rest of the run.
        """
        wanted = set(tickets)
        with self._changed:
            running = {task.ticket for worker in self._workers for task in worker.inflight}
            dropped = [task for task in self._queue if task.ticket in wanted]
            self._queue = [task for task in self._queue if task.ticket not in wanted]
            self._num_open -= len(dropped)
            self._cancelled |= wanted & running
            self._outcomes = deque(outcome for outcome in self._outcomes if outcome.ticket not in wanted)
            for worker in self._workers:
                if worker.inflight and worker.inflight[0].ticket in wanted and not worker.is_ended:
                    worker.is_ended = True
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(worker.pid, signal.SIGKILL)
                    with contextlib.suppress(OSError):  # what it forked may hold its end open
                        worker.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End the workers at once and wait for the threads."""
        with self._changed:
            if self._is_closing:
                return
            self._is_closing = True
            self._changed.notify_all()
        self._source.close()
        for thread in self._threads:
            thread.join()
        for worker in self._workers:
            worker.sock.close()

    def _serve(self, index: int) -> None:
        """Keep one worker busy, and in being, until the pool closes."""
        failed_starts = 0
        while True:
            worker = self._workers[index]
            try:
                self._feed(worker)
                return
            except Exception:  # noqa: BLE001 - whatever its bytes do to this thread: the task must be answered for
                if self._is_closing:
                    return
            if not worker.is_ended:
                failed_starts = 0 if worker.is_ready else failed_starts + 1
            if failed_starts >= _MAX_FAILED_STARTS:
                self._fail(
                    f"worker processes die before they can work, {failed_starts} times in a row; see the log above"
                )
            is_replaced = failed_starts < _MAX_FAILED_STARTS and self._replace(index)
            self._bury(worker)
            if not is_replaced:
                return

    def _feed(self, worker: _Worker) -> None:
        if worker.sock.recv(len(READY)) != READY:
            raise EOFError
        worker.is_ready = True
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_closing or self._queue or worker.inflight)
                if self._is_closing:
                    return
                if worker.is_ended:  # its answer came just before its end
                    raise EOFError
                tasks = self._take(worker)
            for task in tasks:
                self._send(worker, task)
            meta, *parts = receive_frame(worker.sock)
            status, seconds = msgpack.unpackb(meta)
            with self._changed:
                ticket = worker.inflight.popleft().ticket
                error = None if status == OK else bytes(parts[0]).decode(errors="replace")
                self._finish(Outcome(ticket=ticket, parts=parts if status == OK else (), seconds=seconds, error=error))

    def _take(self, worker: _Worker) -> list[Task]:
        """Move tasks from the queue to ``worker``: one, and a second ahead of time while many wait."""
        taken: list[Task] = []
        while self._queue:
            ahead = bool(worker.inflight)
            small = all(blob.id in worker.known_blobs for blob in self._queue[-1].blobs)
            small = small and len(self._queue[-1].head) <= _PREFETCH_BYTES
            many = len(self._queue) >= _PREFETCH_QUEUE * self.num_workers
            if ahead and (len(worker.inflight) >= 2 or not small or not many):
                break
            task = self._queue.pop()
            worker.inflight.append(task)
            taken.append(task)
        return taken

    def _send(self, worker: _Worker, task: Task) -> None:
        new = [blob for blob in task.blobs if blob.id not in worker.known_blobs]
        for blob in task.blobs:
            worker.known_blobs[blob.id] = None
            worker.known_blobs.move_to_end(blob.id)
        while len(worker.known_blobs) > max(MAX_BLOBS, len(task.blobs)):
            worker.known_blobs.popitem(last=False)
        meta = msgpack.packb((task.kind, [blob.id for blob in task.blobs], [blob.id for blob in new]))
        send_frame(worker.sock, [meta, task.head, *(blob.data for blob in new)])

    def _finish(self, outcome: Outcome) -> None:
        self._num_open -= 1
        if outcome.ticket in self._cancelled:
            self._cancelled.discard(outcome.ticket)
        else:
            self._outcomes.append(outcome)
        self._changed.notify_all()

    def _bury(self, worker: _Worker) -> None:
        """Answer for the task that a dead worker held; those that only waited behind it go back to the queue."""
        worker.sock.close()
        with self._changed:
            held = None if worker.is_ended or not worker.inflight else worker.inflight[0]
            for task in reversed(worker.inflight):
                if task is held or task.ticket in self._cancelled:
                    error = f"worker process {worker.pid} died while it held this task"
                    self._finish(Outcome(ticket=task.ticket, error=error, is_crash=True))
                else:
                    self._queue.append(task)
            worker.inflight.clear()
            self._changed.notify_all()

    def _replace(self, index: int) -> bool:
        try:
            sock, pid = self._source.start_worker()
        except WorkerError as error:
            if not self._is_closing:
                self._fail(str(error))
            return False
        with self._changed:
            self._workers[index] = _Worker(sock, pid)
        return True

    def _fail(self, reason: str) -> None:
        """Give up on this worker; when none is left to do the work, say so to whoever waits."""
        with self._changed:
            self._failure = reason
            self._changed.notify_all()
