"""Samples on the wire, and a thread that takes and sends them at a steady pace."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from http import HTTPStatus

from monitor.reporting.connection import Connection
from shared.errors import Unreachable
from shared.events import JsonValue

SAMPLES_PATH = "/internal/samples"
TIMEOUT_S = 5.0  # of one call: what is older than the next sample is worth nothing
FIRST_PAUSE_S = 0.25  # before a run that is not known yet is asked about again
CLOSE_S = 1.0  # that the end may wait for a call under way

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSample:
    """What one process or machine uses; None where it is not known."""

    node: str  # "server", "worker-1", or a client's id
    kind: str  # "server", "worker" or "client"
    host: str
    ts: float  # Unix seconds
    cpu_percent: float | None = None  # of one core
    rss_bytes: int | None = None
    memory_percent: float | None = None  # of the machine
    sent_bytes: int | None = None  # by the machine, since sampling began
    received_bytes: int | None = None
    gpu_percent: float | None = None
    gpu_memory_bytes: int | None = None
    capabilities: Mapping[str, JsonValue] = field(default_factory=dict)


class SampleReporter:
    """Takes samples every ``period_s`` and sends them; those that cannot be sent are dropped, the next come soon."""

    def __init__(self, connection: Connection, *, period_s: float) -> None:
        """Report over ``connection``, which is this reporter's alone."""
        self._connection = connection
        self._period_s = period_s
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._said = ""

    def start(self, run: str | None, take: Callable[[], Sequence[NodeSample]]) -> None:
        """Start the thread; the first samples are sent at once."""
        if self._thread is not None:
            return
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._serve, args=(run, take), name="sampling", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread. Harmless when called twice, or before the start, or in a forked copy of the process."""
        thread = self._thread
        if thread is None or self._closing.is_set() or os.getpid() != self._pid:
            return
        self._closing.set()
        thread.join(CLOSE_S)
        if thread.is_alive():
            self._connection.abort()
            thread.join(CLOSE_S)

    def _serve(self, run: str | None, take: Callable[[], Sequence[NodeSample]]) -> None:
        pause = first_pause = min(FIRST_PAUSE_S, self._period_s)
        try:
            while True:
                is_known = self._report(run, take)
                if self._closing.wait(self._period_s if is_known else pause):
                    return
                pause = first_pause if is_known else min(self._period_s, 2 * pause)
        except Exception:  # noqa: BLE001 - the thread's outer loop: whatever it is, the training goes on
            _log.warning("sampling ended", exc_info=True)
        finally:
            self._connection.close()

    def _report(self, run: str | None, take: Callable[[], Sequence[NodeSample]]) -> bool:
        """Send samples once; tells whether the run is known there: its first event may still be on its way."""
        body = json.dumps({"run": run, "samples": [asdict(sample) for sample in take()]}).encode()
        try:
            reply = self._connection.post(SAMPLES_PATH, body, timeout_s=TIMEOUT_S)
        except Unreachable as error:
            _log.debug("samples could not be sent: %s", error)
            return True
        if reply.status == HTTPStatus.NOT_FOUND and run is not None:
            return False
        if reply.status >= 300:
            self._say_once(f"refuses samples: it answers {reply.status} {reply.detail[:200]}".rstrip())
        return True

    def _say_once(self, sentence: str) -> None:
        if sentence != self._said:
            self._said = sentence
            _log.warning("the dashboard at %s %s", self._connection.destination.url, sentence)
