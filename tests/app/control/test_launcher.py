"""Runs as processes: in sessions of their own, with a log, an address to report to, and nobody else's settings."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from app.control.launcher import Launcher, environment_of_run, run_command
from app.control.run_log import LOG_FILE
from constellation import reporting
from shared.config import RunConfig, from_environment
from shared.errors import RunFailed

LIMIT_S = 60


def python(code: str) -> "Launcher":
    return Launcher(lambda run_dir: [sys.executable, "-c", code, str(run_dir)])


@pytest.fixture
def launcher(request: pytest.FixtureRequest) -> Iterator[Launcher]:
    made = python(request.param)
    yield made
    made.close()


@pytest.mark.parametrize("launcher", ["import os, sys; print(os.getsid(0), sys.argv[1]); sys.exit(3)"], indirect=True)
def test_a_run_leads_its_own_session_and_leaves_its_exit_code(launcher: Launcher, tmp_path: Path) -> None:
    identity = launcher.start(tmp_path)
    while launcher.exit_code(identity.pid) is None:
        pass
    assert launcher.exit_code(identity.pid) == 3
    first, second = (tmp_path / LOG_FILE).read_text().splitlines()
    assert first.startswith("--- started ")
    assert second == f"{identity.pid} {tmp_path}"
    launcher.forget(identity.pid)
    assert launcher.exit_code(identity.pid) is None


@pytest.mark.parametrize("launcher", ["import sys; print(open(sys.argv[1] + '/pipe').read())"], indirect=True)
def test_a_run_goes_on_when_its_launcher_lets_go(launcher: Launcher, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    identity = launcher.start(tmp_path)
    launcher.close()
    process = psutil.Process(identity.pid)
    (tmp_path / "pipe").write_text("goes on")
    process.wait(LIMIT_S)
    assert "goes on" in (tmp_path / LOG_FILE).read_text()


def test_a_program_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match=r"cannot be started: No such file"):
        Launcher(lambda _: [str(tmp_path / "nothing")]).start(tmp_path)


def test_a_log_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / LOG_FILE).mkdir()
    with pytest.raises(RunFailed, match=r"run\.log cannot be written: Is a directory"):
        python("").start(tmp_path)
    (tmp_path / LOG_FILE).rmdir()
    (tmp_path / LOG_FILE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunFailed, match=r"cannot be written"):
        python("").start(tmp_path)
    assert not (tmp_path / "elsewhere").exists()


def test_the_dashboards_own_settings_stay_out_of_a_run() -> None:
    inherited = {
        "PATH": "/bin", "CONSTELLATION_HOME": "/home", "CONSTELLATION_NUM_ROUNDS": "9", "CONSTELLATION_WEB_PORT": "1",
        "CONSTELLATION_REPORT_URL": "http://elsewhere",
    }  # fmt: skip
    made = environment_of_run(inherited, "", None)
    assert made == {"PATH": "/bin", "CONSTELLATION_HOME": "/home", "PYTHONUNBUFFERED": "1"}
    assert from_environment(made) == {}


def test_a_run_is_told_where_to_report(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("a-token")
    (tmp_path / "token").chmod(0o600)
    made = environment_of_run({}, "http://127.0.0.1:5000", tmp_path / "token")
    assert made["CONSTELLATION_REPORT_ORIGIN"] == "dashboard"
    assert reporting.reporting_from(made, output=tmp_path) is not None


def test_every_setting_is_left_out_of_the_environment() -> None:
    everything = {f"CONSTELLATION_{key.replace('-', '_').upper()}": "1" for key in RunConfig().as_flat()}
    assert environment_of_run(everything, "", None) == {"PYTHONUNBUFFERED": "1"}


def test_the_command_names_the_folder(tmp_path: Path) -> None:
    assert run_command(tmp_path)[1:] == [
        "-m", "constellation", "demo", "--run-dir", str(tmp_path), "--no-dashboard",
    ]  # fmt: skip
