from __future__ import annotations

import logging
import os
import socket
import threading
from pathlib import Path

import pytest

from monitor.gpu import GpuReading
from monitor.heartbeat import Heartbeat, disk_free_bytes
from monitor.reporting.connection import Connection
from monitor.reporting.destination import fixed_token, parse_destination
from monitor.reporting.sampler import ResourceSampler
from tests.monitor.reporting.dashboards import TOKEN, Dashboard, serving


class FakeGpu:
    names = ("NVIDIA Test",)

    def read(self) -> GpuReading:
        return GpuReading(percent=70.0, memory_bytes=900, by_pid={os.getpid(): 400})


def connection(port: int, token: str = TOKEN) -> Connection:
    return Connection(parse_destination(f"http://127.0.0.1:{port}"), fixed_token(token))


def sampler(port: int, token: str = TOKEN) -> ResourceSampler:
    return ResourceSampler(connection(port, token), period_s=0.01, now=lambda: 50.0, find_gpu=FakeGpu)


def test_samples_of_the_server_and_its_workers_arrive_by_the_contract() -> None:
    dashboard = Dashboard()
    with serving(dashboard) as port:
        watching = sampler(port)
        watching.start("r1", lambda: [os.getpid()])  # this process is a worker as well
        dashboard.wait_until(lambda it: len(it.samples) >= 3)
        watching.close()
    assert dashboard.num_connections == 1
    message = dashboard.samples[1]
    assert message["run"] == "r1"
    server, worker = message["samples"]
    assert set(server) == {
        "node", "kind", "host", "ts", "cpu_percent", "rss_bytes", "memory_percent", "sent_bytes", "received_bytes",
        "gpu_percent", "gpu_memory_bytes", "capabilities",
    }  # fmt: skip
    assert (server["node"], server["kind"], server["host"]) == ("server", "server", socket.gethostname())
    assert (server["ts"], server["gpu_percent"], server["gpu_memory_bytes"]) == (50.0, 70.0, 900)
    assert (worker["node"], worker["kind"], worker["gpu_memory_bytes"]) == ("worker-1", "worker", 400)
    assert server["rss_bytes"] > 1 << 20
    assert server["capabilities"]["pid"] == os.getpid()


def test_samples_survive_a_dashboard_that_fails_and_comes_back() -> None:
    dashboard = Dashboard()
    with serving(dashboard) as port:
        watching = sampler(port)
        watching.start("r1", list)
        dashboard.wait_until(lambda it: len(it.samples) >= 1)
    seen = len(dashboard.samples)
    dashboard.faults.extend(["500", "cut", "html", "short"])
    with serving(dashboard, port):
        dashboard.wait_until(lambda it: len(it.samples) > seen)
        watching.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "sampling"]


def test_a_refusal_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    dashboard = Dashboard()
    with caplog.at_level(logging.WARNING), serving(dashboard) as port:
        watching = sampler(port, token="other")
        watching.start("r1", list)
        dashboard.wait_until(lambda it: it.calls.count("401") >= 3)
        watching.close()
    assert len([message for message in caplog.messages if "refuses samples" in message]) == 1


def test_a_run_that_is_not_known_yet_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    dashboard = Dashboard()
    dashboard.faults.extend(["404", "404"])
    with caplog.at_level(logging.WARNING), serving(dashboard) as port:
        watching = sampler(port)
        watching.start("r1", list)
        dashboard.wait_until(lambda it: bool(it.samples))
        watching.close()
    assert caplog.messages == []


def test_a_server_that_hangs_does_not_keep_the_run_from_ending() -> None:
    dashboard = Dashboard()
    dashboard.faults.extend(["hang"] * 5)
    with serving(dashboard) as port:
        watching = sampler(port)
        watching.start("r1", list)
        dashboard.wait_until(lambda it: bool(it.calls))
        watching.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "sampling"]


def test_closing_without_a_start_and_twice_does_nothing() -> None:
    watching = sampler(1)
    watching.close()
    watching.close()


def test_a_heartbeat_says_what_a_client_can_do(tmp_path: Path) -> None:
    dashboard = Dashboard()
    with serving(dashboard) as port:
        heart = Heartbeat(
            connection(port), "site-a", data_dir=tmp_path / "not" / "made", period_s=0.01, find_gpu=FakeGpu
        )
        heart.start()
        dashboard.wait_until(lambda it: len(it.samples) >= 2)
        heart.close()
    assert dashboard.samples[0]["run"] is None
    (sample,) = dashboard.samples[0]["samples"]
    assert (sample["node"], sample["kind"]) == ("site-a", "client")
    found = sample["capabilities"]
    assert found["cores"] >= 1
    assert found["memory_bytes"] > 1 << 28
    assert found["gpus"] == ["NVIDIA Test"]
    assert found["disk_free_bytes"] == pytest.approx(disk_free_bytes(tmp_path), rel=0.2)
    assert set(found["versions"]) == {"constellation-fl", "flwr", "torch", "opacus"}
