from __future__ import annotations

from types import SimpleNamespace

from monitor.gpu import open_gpu, open_nvidia


class FakeNvml:
    """Behaves like ``pynvml`` on a machine with two GPUs."""

    class NVMLError(Exception):
        pass

    def __init__(self, *, has_driver: bool = True, count: int = 2) -> None:
        self.has_driver = has_driver
        self.count = count
        self.is_lost = False

    def nvmlInit(self) -> None:
        if not self.has_driver:
            raise self.NVMLError("Driver Not Loaded")

    def nvmlDeviceGetCount(self) -> int:
        return self.count

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetName(self, handle: int) -> str | bytes:
        return b"NVIDIA A" if handle == 0 else "NVIDIA B"

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> SimpleNamespace:
        if self.is_lost:
            raise self.NVMLError("GPU is lost")
        return SimpleNamespace(gpu=[90, 40][handle])

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:
        return SimpleNamespace(used=[3000, 500][handle])

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[SimpleNamespace]:
        both = SimpleNamespace(pid=7, usedGpuMemory=400)
        return [both, SimpleNamespace(pid=8, usedGpuMemory=None)] if handle == 0 else [both]


def test_gpus_are_read_together_and_a_process_over_all_of_them() -> None:
    gpu = open_nvidia(FakeNvml())
    assert gpu is not None
    assert list(gpu.names) == ["NVIDIA A", "NVIDIA B"]
    reading = gpu.read()
    assert reading is not None
    assert (reading.percent, reading.memory_bytes, reading.by_pid) == (65.0, 3500, {7: 800, 8: 0})


def test_a_machine_without_driver_or_without_gpu_has_none() -> None:
    assert open_nvidia(FakeNvml(has_driver=False)) is None
    assert open_nvidia(FakeNvml(count=0)) is None


def test_a_gpu_that_is_lost_later_says_nothing() -> None:
    nvml = FakeNvml()
    gpu = open_nvidia(nvml)
    assert gpu is not None
    nvml.is_lost = True
    assert gpu.read() is None


def test_looking_for_gpus_here_neither_fails_nor_imports_torch() -> None:
    open_gpu()
