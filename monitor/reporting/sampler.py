"""Samples the processes of a run on this machine for its dashboard."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence

from monitor.gpu import Gpu, open_gpu
from monitor.processes import RunMeter
from monitor.reporting.connection import Connection
from monitor.reporting.samples import NodeSample, SampleReporter

PERIOD_S = 2.0


class ResourceSampler:
    """Reports what the server process and each worker use, and the machine under the server's name."""

    def __init__(
        self,
        connection: Connection,
        *,
        period_s: float = PERIOD_S,
        now: Callable[[], float] = time.time,
        find_gpu: Callable[[], Gpu | None] = open_gpu,
    ) -> None:
        """Report over ``connection``, which is this sampler's alone."""
        self._reporter = SampleReporter(connection, period_s=period_s)
        self._now = now
        self._find_gpu = find_gpu
        self._host = socket.gethostname()

    def start(self, run: str, worker_pids: Callable[[], Sequence[int]]) -> None:
        """Start sampling, in a thread; call this after workers were forked."""
        meter = RunMeter(worker_pids, self._find_gpu())
        self._reporter.start(run, lambda: self._take(meter))

    def close(self) -> None:
        """End the thread."""
        self._reporter.close()

    def _take(self, meter: RunMeter) -> list[NodeSample]:
        machine, gpu, processes = meter.read()
        now = self._now()
        samples = []
        for name, (pid, reading) in processes.items():
            is_server = name == "server"
            own = gpu.by_pid.get(pid) if gpu else None
            samples.append(
                NodeSample(
                    node=name,
                    kind="server" if is_server else "worker",
                    host=self._host,
                    ts=now,
                    cpu_percent=reading.cpu_percent,
                    rss_bytes=reading.rss_bytes,
                    memory_percent=machine.memory_percent,
                    sent_bytes=machine.sent_bytes if is_server else None,
                    received_bytes=machine.received_bytes if is_server else None,
                    gpu_percent=gpu.percent if gpu and is_server else None,
                    gpu_memory_bytes=gpu.memory_bytes if gpu and is_server else own,
                    capabilities={
                        "pid": pid,
                        **({} if reading.pss_bytes is None else {"pss_bytes": reading.pss_bytes}),
                        **({"machine_cpu_percent": machine.cpu_percent} if is_server else {}),
                    },
                )
            )
        return samples
