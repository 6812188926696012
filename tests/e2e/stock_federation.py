"""A real SuperLink and real SuperNodes on this machine, started and swept by the test that asks for them."""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent.parent
COMMANDS = Path(sys.executable).parent  # flwr's own, of the environment under test
MARK = "STOCK_FLOWER_TEST"  # in the environment of every process we start, and so of those that they start
START_LIMIT_S, RUN_LIMIT_S, END_LIMIT_S = 60.0, 250.0, 10.0


def free_port() -> int:
    """Let the operating system choose a port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowerRun:
    """What Flower tells of a run that is over."""

    status: str
    log: str


@dataclass(slots=True, kw_only=True)
class StockFederation:
    """The processes, and where they write."""

    folder: Path
    mark: str = field(default_factory=lambda: secrets.token_hex(8))
    port: int = field(default_factory=free_port)
    _started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start_superlink(self) -> None:
        """Start the SuperLink and wait until it answers."""
        home = self.folder / "flwr"
        home.mkdir()
        connection = f'[superlink.here]\naddress = "127.0.0.1:{self.port}"\ninsecure = true\n'
        (home / "config.toml").write_text(connection, encoding="utf-8")
        address = ("--host", "127.0.0.1", "--port", str(self.port))
        self._start("flower-superlink", "--insecure", *address, "--disable-runtime-dependency-installation")
        self._wait_until_it_answers()

    def start_supernode(self, node_config: Mapping[str, str | int]) -> None:
        """Start a SuperNode; it connects when it is ready."""
        text = " ".join(f"{key}={json.dumps(value)}" for key, value in node_config.items())
        address = ("--superlink", f"127.0.0.1:{self.port}", "--port", str(free_port()))
        self._start("flower-supernode", "--insecure", *address, "--node-config", text)

    def start_resident(self, node_config: Mapping[str, str | int], *options: str) -> subprocess.Popen[bytes]:
        """Start a resident SuperNode; it connects when it is ready."""
        text = " ".join(f"{key}={json.dumps(value)}" for key, value in node_config.items())
        command = (sys.executable, "-m", "client.supernode", "--insecure", "--superlink", f"127.0.0.1:{self.port}")
        self._start(*command, "--node-config", text, *options)
        return self._started[-1]

    def run(self, settings: Mapping[str, str | float | bool]) -> FlowerRun:
        """Let ``flwr run`` run this repository with these settings over its defaults, to the end."""
        overrides = " ".join(f"{key}={json.dumps(value)}" for key, value in settings.items())
        log = self._flwr("run", str(ROOT), "here", "--stream", "-c", overrides)
        found = re.search(r"started run (\d+)", log)
        assert found is not None, log
        listed = json.loads(self._flwr("list", "here", "--run-id", found[1], "--format", "json"))
        return FlowerRun(status=listed["runs"][0]["status"], log=log)

    def stop(self) -> None:
        """End every process of ours, also those that Flower detached, by their ids."""
        for process in self._started:
            process.terminate()
        _, alive = psutil.wait_procs(self.processes(), timeout=END_LIMIT_S)
        for process in alive:
            process.kill()
        for started in self._started:
            started.wait(END_LIMIT_S)
        psutil.wait_procs(self.processes(), timeout=END_LIMIT_S)

    def processes(self) -> list[psutil.Process]:
        """Find what runs with our mark in its environment."""
        return [process for process in psutil.process_iter() if _mark_of(process) == self.mark]

    def logs(self) -> str:
        """Return the end of what each process wrote, for a test that failed."""
        ends = {path.name: path.read_text(errors="replace")[-4000:] for path in sorted(self.folder.glob("*.log"))}
        return "\n".join(f"==> {name}\n{text}" for name, text in ends.items())

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            MARK: self.mark,
            "PATH": f"{COMMANDS}{os.pathsep}{os.environ.get('PATH', '')}",  # Flower starts its parts by their names
            "PYTHONPATH": str(ROOT),  # as an installed package would, also where nothing is installed
            "PYTHONWARNINGS": "default",
            "FLWR_HOME": str(self.folder / "flwr"),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
        }

    def _start(self, command: str, *arguments: str) -> None:
        name = Path(command).name
        with (self.folder / f"{len(self._started)}-{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [COMMANDS / command, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=self._environment(),
                start_new_session=True,
            )
        self._started.append(process)

    def _flwr(self, *arguments: str) -> str:
        answer = subprocess.run(
            [COMMANDS / "flwr", *arguments],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=self.folder,
            env={**self._environment(), "COLUMNS": "1000", "NO_COLOR": "1"},
            timeout=RUN_LIMIT_S,
        )
        assert answer.returncode == 0, f"flwr {arguments[0]}: {answer.stdout}\n{answer.stderr}\n{self.logs()}"
        return answer.stdout

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_LIMIT_S
        while time.monotonic() < deadline:
            assert self._started[0].poll() is None, self.logs()
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5) as answer:
                    if answer.status == 200:
                        return
            except OSError:
                time.sleep(0.2)  # between questions: nothing tells us when it is ready
        raise AssertionError(f"the SuperLink does not answer\n{self.logs()}")


@contextmanager
def stock_federation(folder: Path) -> Iterator[StockFederation]:
    """Start a SuperLink; whatever happens, no process is left behind."""
    federation = StockFederation(folder=folder)
    try:
        federation.start_superlink()
        yield federation
    finally:
        federation.stop()


def _mark_of(process: psutil.Process) -> str | None:
    try:
        return process.environ().get(MARK)
    except (psutil.Error, OSError):  # gone meanwhile, or another user's
        return None
