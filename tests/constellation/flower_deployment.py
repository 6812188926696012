"""A real SuperLink with SuperNodes on loopback, for as long as a ``with`` lasts."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil

BIN = Path(sys.executable).parent


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextlib.contextmanager
def deployment(home: Path, num_supernodes: int) -> Iterator[dict[str, str]]:
    """Start the processes; the environment that `flwr` needs to reach them, as connection "here"."""
    port = free_port()
    home.mkdir()
    (home / "config.toml").write_text(f'[superlink.here]\naddress = "127.0.0.1:{port}"\ninsecure = true\n')
    environment = {**os.environ, "FLWR_HOME": str(home), "FLWR_TELEMETRY_ENABLED": "0"}
    environment |= {"FLWR_DISABLE_UPDATE_CHECK": "1", "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    commands = [
        [
            "flower-superlink",
            "--insecure",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--disable-runtime-dependency-installation",
        ]
    ]
    for index in range(num_supernodes):
        node = f"partition-id={index} num-partitions={num_supernodes}"
        address = ["--superlink", f"127.0.0.1:{port}", "--port", str(free_port())]
        commands.append(["flower-supernode", "--insecure", *address, "--node-config", node])
    processes: list[subprocess.Popen[bytes]] = []
    with contextlib.ExitStack() as stack:
        stack.callback(end, processes)
        for number, command in enumerate(commands):
            log = stack.enter_context((home / f"{number}.log").open("wb"))
            processes.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True))
            if number == 0:
                wait_until_healthy(port)
        yield environment


def wait_until_healthy(port: int, limit_s: float = 120.0) -> None:
    deadline = time.monotonic() + limit_s
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                return
        except OSError:
            assert time.monotonic() < deadline, "the SuperLink did not start"
            time.sleep(0.2)


def run(folder: Path, environment: dict[str, str], overrides: str) -> int:
    command = ["flwr", "run", str(folder), "here", "--format", "json", "-c", overrides]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return int(json.loads(done.stdout)["run-id"])


def end(processes: list[subprocess.Popen[bytes]]) -> None:
    """End all of them, and the SuperExecs and apps they have started, which live in sessions of their own."""
    family = [psutil.Process(process.pid) for process in processes if process.poll() is None]
    family += [child for process in family for child in process.children(recursive=True)]
    for process in processes:
        process.send_signal(signal.SIGTERM)
    psutil.wait_procs(family, timeout=10)
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    for process in processes:
        process.wait()
