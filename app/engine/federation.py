"""Starts and supervises a SuperLink on this machine, and submits our Flower App to it.

What runs for it (SuperLink, SuperExec, ServerApp, and SuperNodes started here) is one family of processes: it ends
with this one, in order on SIGTERM, and swept by a tether after ``kill -9``.
"""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from app.engine.processes import Family, Started
from app.engine.thin_app import write_overrides, write_thin_app
from shared.config import Scalar
from shared.errors import RunFailed, UsageError

_START_LIMIT_S = 120.0  # until a SuperLink answers; on a busy machine its imports take long
_SUBMIT_LIMIT_S = 120.0
_HEALTH_LIMIT_S = 5.0
_CONNECTION = "here"  # the name of the SuperLink in Flower's own configuration


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """The files of the SuperLink's certificate."""

    certificate: Path
    key: Path
    authority: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkOptions:
    """How the SuperLink is started."""

    host: str = "127.0.0.1"
    port: int
    tls: Tls | None = None  # None is plain text: for loopback only
    enrolls_nodes: bool = False  # only nodes whose key was registered may come
    database: Path | None = None  # None keeps everything in memory


@dataclass(slots=True, kw_only=True)
class Federation:
    """A SuperLink and what belongs to it, for as long as a ``with`` lasts."""

    folder: Path  # for logs, Flower's home, and the app that is submitted
    options: LinkOptions
    sleep: Callable[[float], object] = time.sleep
    family: Family = field(init=False)
    superlink: Started = field(init=False)

    def __enter__(self) -> Federation:
        """Start the SuperLink and wait until it answers.

        Raises:
            UsageError: The port is in use, or the host is not this machine's.
            RunFailed: The SuperLink does not start; the sentence holds its last words.
        """
        require_free_port(self.options.host, self.options.port)
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        home = self.folder / "flwr"
        home.mkdir(exist_ok=True)
        (home / "config.toml").write_text(self._connection(), encoding="utf-8")
        self.family = Family(
            folder=self.folder,
            environment={
                "FLWR_HOME": str(home),
                "FLWR_TELEMETRY_ENABLED": "0",
                "FLWR_DISABLE_UPDATE_CHECK": "1",
                "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.5",
            },
        )
        try:
            self.superlink = self.family.start("superlink", self._superlink_command())
            self._wait_until_it_answers()
            write_thin_app(self.folder / "app")
        except BaseException:
            self.family.end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End everything that was started, and all that these have started."""
        self.family.end()

    @property
    def address(self) -> str:
        """Where nodes of this machine find the SuperLink."""
        host = "127.0.0.1" if self.options.host in ("0.0.0.0", "::", "") else self.options.host  # noqa: S104
        return f"[{host}]:{self.options.port}" if ":" in host else f"{host}:{self.options.port}"

    def submit(self, settings: Mapping[str, Scalar]) -> str:
        """Submit a run with these settings and return Flower's id of it.

        Raises:
            RunFailed: Flower does not take it.
        """
        overrides = write_overrides(self.folder / "settings.toml", settings)
        app = str(self.folder / "app")
        answer = self.flwr("run", app, _CONNECTION, "--format", "json", "-c", str(overrides))
        return str(answer["run-id"])

    def register_node(self, public_key: bytes, name: str) -> None:
        """Let the node with this key (PEM) come; one that may come already is fine.

        Raises:
            RunFailed: The SuperLink does not take it.
        """
        from app.engine.flwr_compat import register_node

        authority = self.options.tls.authority.read_bytes() if self.options.tls else None
        if refusal := register_node(self.address, authority, public_key, name):
            raise RunFailed(f"the SuperLink does not take the node of {name}: {refusal}")

    def details_of(self, flower_run: str) -> str:
        """Return what Flower says about a run's end."""
        answer = self.flwr("list", _CONNECTION, "--run-id", flower_run, "--format", "json")
        runs = answer.get("runs")
        first = runs[0] if isinstance(runs, list) and runs else {}
        return str(first.get("status-details") or first.get("status") or "no reason given")

    def flwr(self, *arguments: str) -> dict[str, object]:
        """Run Flower's command line and return what it answers.

        Raises:
            RunFailed: It fails.
        """
        command = [str(Path(sys.executable).with_name("flwr")), *arguments]
        answer = subprocess.run(
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=self.folder,
            env={**self.family.full_environment(), "COLUMNS": "1000", "NO_COLOR": "1"},
            timeout=_SUBMIT_LIMIT_S,
        )
        found = _last_object(answer.stdout)
        if answer.returncode != 0 or found is None or found.get("success") is False:
            said = (answer.stdout + answer.stderr).strip()[-500:]
            raise RunFailed(f"flwr {arguments[0]} failed: {said}")
        return found

    def server_apps(self) -> list[psutil.Process]:
        """Return the processes that run our ServerApp now."""
        return [process for process in self.family.members() if _runs_server_app(process)]

    def _superlink_command(self) -> list[str]:
        options = self.options
        command = [str(Path(sys.executable).with_name("flower-superlink"))]
        command += ["--host", options.host, "--port", str(options.port), "--disable-runtime-dependency-installation"]
        if options.tls is None:
            command.append("--insecure")
        else:
            tls = options.tls
            command += ["--ssl-certfile", str(tls.certificate), "--ssl-keyfile", str(tls.key)]
            command += ["--ssl-ca-certfile", str(tls.authority)]
        if options.enrolls_nodes:
            command.append("--enable-supernode-auth")
        if options.database is not None:
            command += ["--database", str(options.database)]
        return command

    def _connection(self) -> str:
        tls = self.options.tls
        trust = "insecure = true" if tls is None else f"root-certificates = {json.dumps(str(tls.authority))}"
        return f"[superlink.{_CONNECTION}]\naddress = {json.dumps(self.address)}\n{trust}\n"

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + _START_LIMIT_S
        while time.monotonic() < deadline:
            if not self.superlink.is_running:
                raise RunFailed(f"the SuperLink ended: {self.superlink.last_lines(5)}")
            if is_healthy(self.address, self.options.tls.authority if self.options.tls else None):
                return
            self.sleep(0.2)  # between questions: nothing tells us when it is ready
        raise RunFailed(f"the SuperLink does not answer: {self.superlink.last_lines(5)}")


def is_healthy(address: str, authority: Path | None) -> bool:
    """Tell whether a SuperLink answers at an address; with ``authority`` over TLS, verified."""
    scheme = "http" if authority is None else "https"
    context = None if authority is None else ssl.create_default_context(cafile=str(authority))
    try:
        with urllib.request.urlopen(  # noqa: S310 - http or https, as built here
            f"{scheme}://{address}/health", timeout=_HEALTH_LIMIT_S, context=context
        ) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def free_port(host: str = "127.0.0.1") -> int:
    """Let the operating system choose a port."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def require_free_port(host: str, port: int) -> None:
    """Check that a port can be listened on.

    Raises:
        UsageError: It cannot.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UsageError(
                f"fl-port {port} on {host} cannot be used: {error.strerror or error}; name another with --fl-port"
            ) from error


def _last_object(text: str) -> dict[str, object] | None:
    """Find the JSON object in what a command printed: the lines before it are for people."""
    start = text.find("{")
    while start != -1:
        try:
            found, _ = json.JSONDecoder().raw_decode(text[start:])
        except ValueError:
            start = text.find("{", start + 1)
            continue
        return found if isinstance(found, dict) else None
    return None


def _runs_server_app(process: psutil.Process) -> bool:
    try:
        words: Sequence[str] = process.cmdline()
    except psutil.Error:
        return False
    return any("flwr-serverapp" in word or "flwr_serverapp" in word for word in words)
