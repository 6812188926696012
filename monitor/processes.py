"""Measures the processes of a run and the machine they share, as often as asked and as cheaply as the system allows."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from monitor.gpu import Gpu, GpuReading

PSS_EACH = 15  # samples: the kernel walks all pages of a process for it, which takes milliseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessReading:
    """One process since the reading before."""

    cpu_percent: float  # of one core
    rss_bytes: int  # resident; pages that forked workers share are counted in each of them
    pss_bytes: int | None  # the same with shared pages split among their users; where the system tells it


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineReading:
    """The whole machine since the reading before."""

    cpu_percent: float  # of all cores
    memory_percent: float
    sent_bytes: int  # over all interfaces but the loopback, since the meter was made
    received_bytes: int


class ProcessMeter:
    """Measures one process again and again."""

    def __init__(self, pid: int) -> None:
        """Begin with the process that has this number now.

        Raises:
            psutil.Error: There is none, or it may not be looked at.
        """
        self._process = psutil.Process(pid)
        self._process.cpu_percent(None)  # the first reading is since now
        self._num_read = 0
        self._pss_bytes: int | None = None

    def read(self) -> ProcessReading | None:
        """Return what it uses; None when it has ended, even if another process has its number now."""
        try:
            if not self._process.is_running():
                return None
            with self._process.oneshot():
                cpu, rss = self._process.cpu_percent(None), self._process.memory_info().rss
        except psutil.Error:
            return None
        if self._num_read % PSS_EACH == 0:
            self._pss_bytes = pss_bytes(self._process.pid)
        self._num_read += 1
        return ProcessReading(cpu_percent=cpu, rss_bytes=rss, pss_bytes=self._pss_bytes)


class MachineMeter:
    """Measures this machine again and again."""

    def __init__(self) -> None:
        psutil.cpu_percent(None)
        self._sent, self._received = _network_bytes()

    def read(self) -> MachineReading:
        """Return what is in use."""
        sent, received = _network_bytes()
        return MachineReading(
            cpu_percent=psutil.cpu_percent(None),
            memory_percent=psutil.virtual_memory().percent,
            sent_bytes=max(0, sent - self._sent),
            received_bytes=max(0, received - self._received),
        )


class RunMeter:
    """Measures the server process of a run, its workers by place, and the machine."""

    def __init__(self, worker_pids: Callable[[], Sequence[int]], gpu: Gpu | None) -> None:
        """Ask ``worker_pids`` at each reading: a worker that died is replaced by another process."""
        self._worker_pids = worker_pids
        self._gpu = gpu
        self._machine = MachineMeter()
        self._meters: dict[int, ProcessMeter] = {}

    def read(self) -> tuple[MachineReading, GpuReading | None, Mapping[str, tuple[int, ProcessReading]]]:
        """Return the machine, its GPUs, and the processes by name: "server", "worker-1" ... with their numbers."""
        named = {"server": os.getpid()}
        named |= {f"worker-{place}": pid for place, pid in enumerate(self._worker_pids(), start=1)}
        self._meters = {pid: meter for pid in named.values() if (meter := self._meters.get(pid) or _meter(pid))}
        found = {}
        for name, pid in named.items():
            reading = self._meters[pid].read() if pid in self._meters else None
            if reading is None:  # it has ended; another process may have its number next time
                self._meters.pop(pid, None)
            else:
                found[name] = (pid, reading)
        return self._machine.read(), self._gpu.read() if self._gpu else None, found


def pss_bytes(pid: int) -> int | None:
    """Return a process's proportional memory on Linux, None elsewhere or where it may not be read."""
    try:
        content = Path(f"/proc/{pid}/smaps_rollup").read_bytes()
    except OSError:
        return None
    for line in content.splitlines():
        if line.startswith(b"Pss:"):
            return int(line.split()[1]) * 1024  # in kB, proc_pid_smaps_rollup(5)
    return None


def _meter(pid: int) -> ProcessMeter | None:
    try:
        return ProcessMeter(pid)
    except psutil.Error:
        return None


def _network_bytes() -> tuple[int, int]:
    counters = psutil.net_io_counters(pernic=True) or {}
    real = [counter for name, counter in counters.items() if name != "lo"]
    return sum(counter.bytes_sent for counter in real), sum(counter.bytes_recv for counter in real)
