"""A client's sign of life: that it is there, what it can do, and how busy its machine is."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import psutil

from monitor.gpu import Gpu, open_gpu
from monitor.processes import MachineMeter, ProcessMeter
from monitor.reporting.connection import Connection
from monitor.reporting.samples import NodeSample, SampleReporter
from shared.events import JsonValue

PERIOD_S = 10.0  # three in a row may be lost before a client counts as offline: see monitor.health
VERSIONS = ("constellation-fl", "flwr", "torch", "opacus")


def capabilities(data_dir: Path, gpu: Gpu | None) -> dict[str, JsonValue]:
    """Describe what this machine can do: cores, memory, GPUs, disk, versions. Reads metadata, imports nothing heavy."""
    found: dict[str, JsonValue] = {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "memory_bytes": int(psutil.virtual_memory().total),
        "gpus": list(gpu.names) if gpu else [],
        "versions": {name: version for name in VERSIONS if (version := _version(name))},
    }
    return found | _disk(data_dir)


def _disk(folder: Path) -> dict[str, JsonValue]:
    free = disk_free_bytes(folder)
    return {} if free is None else {"disk_free_bytes": free}


def disk_free_bytes(folder: Path) -> int | None:
    """Return what a user may still write where ``folder`` is or will be; None when that cannot be found out."""
    existing = next((parent for parent in (folder, *folder.absolute().parents) if parent.exists()), None)
    try:
        return int(psutil.disk_usage(str(existing)).free) if existing else None
    except OSError:
        return None


class Heartbeat:
    """Reports one client of this machine every ``period_s``, from a thread of its own, until it is closed."""

    def __init__(
        self,
        connection: Connection,
        client_id: str,
        *,
        data_dir: Path,
        period_s: float = PERIOD_S,
        now: Callable[[], float] = time.time,
        find_gpu: Callable[[], Gpu | None] = open_gpu,
    ) -> None:
        """Report over ``connection``, which is this heartbeat's alone; ``data_dir`` is where the client keeps data."""
        self._reporter = SampleReporter(connection, period_s=period_s)
        self._client_id = client_id
        self._data_dir = data_dir
        self._now = now
        self._gpu = find_gpu()
        self._capabilities = capabilities(data_dir, self._gpu)
        self._host = socket.gethostname()

    def start(self) -> None:
        """Start reporting; the first sign of life is sent at once."""
        process, machine = ProcessMeter(os.getpid()), MachineMeter()
        self._reporter.start(None, lambda: [self._sample(process, machine)])

    def close(self) -> None:
        """End the thread."""
        self._reporter.close()

    def _sample(self, process: ProcessMeter, machine: MachineMeter) -> NodeSample:
        own, whole = process.read(), machine.read()
        gpu = self._gpu.read() if self._gpu else None
        return NodeSample(
            node=self._client_id,
            kind="client",
            host=self._host,
            ts=self._now(),
            cpu_percent=own.cpu_percent if own else None,
            rss_bytes=own.rss_bytes if own else None,
            memory_percent=whole.memory_percent,
            sent_bytes=whole.sent_bytes,
            received_bytes=whole.received_bytes,
            gpu_percent=gpu.percent if gpu else None,
            gpu_memory_bytes=gpu.memory_bytes if gpu else None,
            capabilities=self._capabilities | _disk(self._data_dir),
        )


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
