"""What NVIDIA GPUs are doing, where there are any and ``nvidia-ml-py`` is installed; never through torch."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuReading:
    """All GPUs of this machine together."""

    percent: float  # mean over GPUs of the time in which one was busy
    memory_bytes: int
    by_pid: dict[int, int] = field(default_factory=dict)  # bytes of each process that uses one


class Gpu(Protocol):
    """A source of readings."""

    names: Sequence[str]

    def read(self) -> GpuReading | None:
        """Return what the GPUs do now; None when they do not say."""


def open_gpu() -> Gpu | None:
    """Return this machine's GPUs, None when there are none or no way to ask them."""
    if importlib.util.find_spec("pynvml") is None:
        return None
    return open_nvidia(importlib.import_module("pynvml"))


def open_nvidia(nvml: Any) -> Gpu | None:
    """Return the GPUs that NVML knows; ``nvml`` is the module ``pynvml`` or one that behaves like it."""
    try:
        nvml.nvmlInit()
        handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
        names = [_text(nvml.nvmlDeviceGetName(handle)) for handle in handles]
    except nvml.NVMLError:  # no driver
        return None
    return NvidiaGpu(nvml, handles, names) if handles else None


class NvidiaGpu:
    """GPUs asked through NVML."""

    def __init__(self, nvml: Any, handles: Sequence[object], names: Sequence[str]) -> None:
        self.names = names
        self._nvml = nvml
        self._handles = handles

    def read(self) -> GpuReading | None:
        """Return what the GPUs do now."""
        nvml = self._nvml
        busy: list[float] = []
        memory = 0
        by_pid: dict[int, int] = {}
        try:
            for handle in self._handles:
                busy.append(float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu))
                memory += int(nvml.nvmlDeviceGetMemoryInfo(handle).used)
                for process in nvml.nvmlDeviceGetComputeRunningProcesses(handle):
                    used = process.usedGpuMemory or 0  # None where the driver does not tell, as in containers
                    by_pid[process.pid] = by_pid.get(process.pid, 0) + int(used)
        except nvml.NVMLError:  # one that fell off the bus, or a driver that was updated under us
            return None
        return GpuReading(percent=sum(busy) / len(busy), memory_bytes=memory, by_pid=by_pid)


def _text(name: bytes | str) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else name  # bytes in older versions
