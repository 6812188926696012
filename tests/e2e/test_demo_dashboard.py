"""``run_demo.py`` with its dashboard: printed, reused, kept open at a terminal, and never left behind."""

import fcntl
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import termios
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from app.control.dashboards import living_dashboard
from app.storage.store import Store
from tests.dashboard_process import dashboard_process
from tests.sweeping import processes_over, sweep

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(os.name != "posix", reason="terminals and signals are POSIX's")]

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 120
QUICK = ("--dataset", "synthetic", "--num-examples", "300", "--model", "linear", "--num-clients", "2", "--workers", "1")


@pytest.fixture
def output(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "runs"
    sweep(tmp_path)


@pytest.fixture
def demo(output: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[str]]:
    keys = tmp_path_factory.getbasetemp() / "demo-keys"

    def command(*options: str) -> list[str]:
        return [sys.executable, "run_demo.py", "--output", str(output), "--key-dir", str(keys), *QUICK, *options]

    return command


def environment() -> dict[str, str]:
    """The session's, which keeps dashboards away from all other tests."""
    return {name: text for name, text in os.environ.items() if name != "CONSTELLATION_NO_DASHBOARD"}


def call(command: list[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=LIMIT_S, check=False
    )


@contextmanager
def started(command: list[str]) -> "Iterator[subprocess.Popen[str]]":
    with subprocess.Popen(
        command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - a job in the background ignores it
    ) as process:  # fmt: skip
        yield process
        process.kill()


def dashboards(output: Path) -> list[psutil.Process]:
    return [process for process in processes_over(output) if "dashboard" in process.cmdline()]


def wait_for_dashboard(output: Path) -> str:
    while (living := living_dashboard(output)) is None:
        pass
    return living.url


@contextmanager
def taken_port() -> Iterator[int]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen(1)
        yield int(holder.getsockname()[1])


def test_the_demo_shows_its_dashboard_and_ends_it_where_nobody_watches(
    output: Path, demo: Callable[..., list[str]]
) -> None:
    done = call(demo("--num-rounds", "2", "--web-port", "0"))
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^dashboard: http://127\.0\.0\.1:\d+", done.stdout, re.MULTILINE)
    assert psutil.wait_procs(dashboards(output))[1] == []
    (run_dir,) = output.glob("2*")
    with Store.open(f"sqlite:///{output}/.constellation/store.db", str(output / "objects")) as store:
        run = store.run(run_dir.name)
    assert (run.state, run.origin, run.rounds_completed) == ("completed", "terminal", 2)


def test_json_stays_one_object_beside_a_dashboard(output: Path, demo: Callable[..., list[str]]) -> None:
    done = call(demo("--num-rounds", "1", "--web-port", "0", "--json"))
    assert json.loads(done.stdout)["state"] == "completed"
    assert "dashboard: http://127.0.0.1:" in done.stderr
    psutil.wait_procs(dashboards(output))


def test_a_dashboard_that_serves_the_folder_is_used(output: Path, demo: Callable[..., list[str]]) -> None:
    with dashboard_process(output) as dashboard:
        done = call(demo("--num-rounds", "1"))
        assert f"dashboard: {dashboard.url} (it was there already)" in done.stdout
        code = re.search(r"/login#code=(\S+)", done.stdout)
        assert code is not None
        page = {"Origin": dashboard.url, "X-Constellation": "1"}
        answer = dashboard.post("/api/v1/session", {"code": code[1]}, headers=page)
        assert answer.status in (200, 201, 204)
        assert dashboard.post("/api/v1/session", {"code": code[1]}, headers=page).status >= 400  # once
        (run,) = dashboard.get("/api/v1/runs").json["items"]
        assert (run["state"], run["origin"]) == ("completed", "terminal")
        assert dashboard.process.poll() is None  # it is not ours to end


def test_a_port_that_was_named_and_is_taken_is_bad_usage(output: Path, demo: Callable[..., list[str]]) -> None:
    with taken_port() as port:
        done = call(demo("--web-port", str(port)))
    assert (done.returncode, done.stdout) == (2, "")
    found = re.fullmatch(
        rf"error: port {port} cannot be used \(Address already in use\); (\d+) is free: --web-port \1\n", done.stderr
    )
    assert found
    assert not list(output.glob("2*"))


def test_the_usual_port_gives_way_when_nobody_named_it(output: Path, demo: Callable[..., list[str]]) -> None:
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            holder.bind(("127.0.0.1", 5000))
            holder.listen(1)
        except OSError:
            pass  # somebody else has it, which is as good
        done = call(demo("--num-rounds", "1"))
    assert done.returncode == 0
    said = re.search(r"port 5000 is taken \(.*\): the dashboard takes (\d+)", done.stdout)
    assert said
    assert f"dashboard: http://127.0.0.1:{said[1]}" in done.stdout
    psutil.wait_procs(dashboards(output))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_and_its_dashboard(
    output: Path, demo: Callable[..., list[str]], number: signal.Signals
) -> None:
    with started(demo("--num-rounds", "100000", "--web-port", "0")) as process:
        wait_for_rounds(output)
        served = dashboards(output)
        assert served
        process.send_signal(number)
        assert process.wait(LIMIT_S) == 130
    psutil.wait_procs(served)


def test_a_second_ctrl_c_leaves_nobody_behind(output: Path, demo: Callable[..., list[str]]) -> None:
    with started(demo("--num-rounds", "100000", "--web-port", "0")) as process:
        wait_for_rounds(output)
        served = dashboards(output)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)
        process.wait(LIMIT_S)
    psutil.wait_procs(served)


def test_a_killed_demo_takes_its_dashboard_with_it(output: Path, demo: Callable[..., list[str]]) -> None:
    with started(demo("--num-rounds", "100000", "--web-port", "0")) as process:
        wait_for_dashboard(output)
        served = dashboards(output)
        process.kill()
        process.wait(LIMIT_S)
    psutil.wait_procs(served)
    assert living_dashboard(output) is None


def wait_for_rounds(output: Path) -> None:
    wait_for_dashboard(output)
    while sum(path.read_bytes().count(b'"round-closed"') for path in output.glob("2*/events.jsonl")) < 2:
        pass


def test_at_a_terminal_the_dashboard_stays_until_ctrl_c(output: Path, demo: Callable[..., list[str]]) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        demo("--num-rounds", "1", "--web-port", "0"), cwd=ROOT, env=environment(), stdin=theirs, stdout=theirs,
        stderr=theirs, start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - Ctrl-C must reach it as a signal
    )  # fmt: skip
    os.close(theirs)
    shown = read_until(ours, b"Ctrl-C ends it")
    url = re.search(r"stays open at (http://127\.0\.0\.1:\d+)", shown)
    assert url
    with urllib.request.urlopen(url[1] + "/health", timeout=LIMIT_S) as answer:
        assert answer.status == 200
    served = dashboards(output)
    os.write(ours, b"\x03")
    read_until(ours, b"")
    assert process.wait(LIMIT_S) == 0
    psutil.wait_procs(served)


def read_until(terminal: int, mark: bytes) -> str:
    """Read what a terminal shows until a mark comes, or without one to its end; it is closed then."""
    shown = b""
    while not mark or mark not in shown:
        try:
            part = os.read(terminal, 4096)
        except OSError:  # Linux says so when nobody holds the other side any more
            part = b""
        if not part:
            assert not mark, shown.decode(errors="replace")
            os.close(terminal)
            break
        shown += part
    return shown.decode(errors="replace")
