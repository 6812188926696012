from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from monitor.processes import MachineMeter, ProcessMeter, RunMeter, pss_bytes


@contextmanager
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits until its input ends."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def burn(seconds: float) -> None:
    end = os.times().user + seconds
    while os.times().user < end:
        pass


def test_a_process_that_computes_shows_it_and_its_memory() -> None:
    meter = ProcessMeter(os.getpid())
    burn(0.1)
    reading = meter.read()
    assert reading is not None
    assert reading.cpu_percent > 0
    assert reading.rss_bytes > 10 << 20


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells proportional memory")
def test_proportional_memory_is_no_more_than_resident_memory() -> None:
    found = pss_bytes(os.getpid())
    reading = ProcessMeter(os.getpid()).read()
    assert found is not None
    assert reading is not None
    assert 1 << 20 < found <= reading.rss_bytes * 1.1  # it may have grown in between


def test_proportional_memory_of_a_process_that_is_gone_is_unknown() -> None:
    with child() as process:
        pass
    assert pss_bytes(process.pid) is None


def test_a_process_that_ended_reads_as_nothing() -> None:
    with child() as process:
        meter = ProcessMeter(process.pid)
        assert meter.read() is not None
    assert meter.read() is None


def test_workers_are_named_by_their_place_and_a_replaced_one_keeps_its_name() -> None:
    with child() as first, child() as second:
        pids = [first.pid, second.pid]
        meter = RunMeter(lambda: pids, None)
        machine, gpu, found = meter.read()
        assert {name: pid for name, (pid, _) in found.items()} == {
            "server": os.getpid(),
            "worker-1": first.pid,
            "worker-2": second.pid,
        }
        assert gpu is None
        assert 0 < machine.memory_percent <= 100
        first.kill()
        first.wait()
        assert set(meter.read()[2]) == {"server", "worker-2"}
        with child() as third:
            pids[0] = third.pid
            assert meter.read()[2]["worker-1"][0] == third.pid


def test_network_counts_since_the_meter_was_made() -> None:
    reading = MachineMeter().read()
    assert reading.sent_bytes >= 0
    assert reading.received_bytes >= 0
    assert reading.sent_bytes < 1 << 30
