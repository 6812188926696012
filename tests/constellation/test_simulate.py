"""``constellation simulate``: exit codes, what is printed where, and no process that stays behind."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from constellation import cli

APPS = Path(__file__).parent / "apps"
LIMIT_S = 120
HANGING_CLIENT = """
import os, pathlib, time
from flwr.client import NumPyClient
from flwr.clientapp import ClientApp

class Hanging(NumPyClient):
    def get_parameters(self, config):
        return []

    def fit(self, parameters, config):
        print("FITTING", flush=True)
        time.sleep(3600)

app = ClientApp(client_fn=lambda context: Hanging().to_client())
"""
LEGACY_SERVER = """
from flwr.server import ServerApp, ServerAppComponents, ServerConfig
app = ServerApp(server_fn=lambda context: ServerAppComponents(config=ServerConfig(num_rounds=2)))
"""


def run(*arguments: str) -> int:
    return cli.call(cli.build_app(), ["simulate", *arguments])


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[str], str]:
    return lambda name: str(shutil.copytree(APPS / name, tmp_path / name))


def test_json_is_one_object_whatever_the_app_prints(
    copy_of: Callable[[str], str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(copy_of("legacy-numpy"), "--num-supernodes", "3", "--workers", "2", "--seed", "4", "--json") == 0
    captured = capfd.readouterr()
    summary = json.loads(captured.out)
    assert summary.pop("seconds_total") > 0
    assert summary == {
        "app": "legacy-numpy",
        "state": "finished",
        "num_supernodes": 3,
        "workers": 2,
        "seed": 4,
        "messages": 28,  # 1 for the first parameters; in each of 3 rounds 3 clients' properties, fit and evaluate
        "errors": 0,
    }
    assert "round 3: " in captured.err


def test_without_json_the_apps_own_prints_and_one_sentence_are_shown(
    copy_of: Callable[[str], str], capfd: pytest.CaptureFixture[str]
) -> None:
    overrides = ["-c", "num-server-rounds=1", "-c", "learning-rate=0.1"]
    assert run(copy_of("legacy-numpy"), "--num-supernodes", "2", "--seed", "1", *overrides) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0].startswith("round 1: ")
    assert "2 clients on" in lines[-1]
    assert "seed 1, 7 messages" in lines[-1]


@pytest.mark.parametrize(
    ("change", "arguments", "code", "sentence"),
    [
        ("", ["-c", "epochs=3"], 2, "no setting 'epochs'"),
        ("", ["--num-supernodes", "0"], 2, "num-supernodes must be >= 1"),
        ("s/flaky.client_app:app/absent:app/", [], 2, "No module named 'absent'"),
        ("s/flaky.client_app:app/flaky.client_app:train/", [], 2, "is a function"),
        ("s/serverapp/server/", [], 2, "names no serverapp"),
        ("", ["-c", "fail='server'"], 1, "LookupError: no such thing"),
        ("", ["-c", "fail='all'"], 1, "all 8 replies were errors"),
    ],
)
def test_failures_are_one_sentence_and_an_exit_code(
    change: str,
    arguments: list[str],
    code: int,
    sentence: str,
    copy_of: Callable[[str], str],
    capfd: pytest.CaptureFixture[str],
) -> None:
    folder = Path(copy_of("flaky-clients"))
    if change:
        _, old, new, _ = change.split("/")
        path = folder / "pyproject.toml"
        path.write_text(path.read_text().replace(old, new))
    assert run(str(folder), "--num-supernodes", "2", *arguments) == code
    captured = capfd.readouterr()
    assert captured.out == ""
    (error,) = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert sentence in error
    if code == 2:
        assert "Traceback" not in captured.err


def test_a_folder_that_is_not_there_is_bad_usage(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(str(tmp_path / "absent"), "--num-supernodes", "2") == 2
    assert "does not exist" in capfd.readouterr().err
    assert run(str(tmp_path)) == 2  # --num-supernodes is missing
    assert "--num-supernodes" in capfd.readouterr().err


@pytest.mark.e2e
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_whatever_ends_it_no_process_stays(number: signal.Signals, copy_of: Callable[[str], str]) -> None:
    folder = Path(copy_of("legacy-numpy"))
    (folder / "client.py").write_text(HANGING_CLIENT)
    (folder / "server.py").write_text(LEGACY_SERVER)
    program = "import sys; from constellation.cli import main; main()"
    command = [sys.executable, "-c", program, "simulate", str(folder), "--num-supernodes", "4", "--workers", "2"]
    root = Path(cli.__file__).parent.parent
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(root)}, start_new_session=True
    )
    assert process.stderr is not None
    with process.stderr:
        next(line for line in process.stderr if "FITTING" in line)
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) == 3  # the zygote and two workers
        process.send_signal(number)
        process.stderr.read()
    code = process.wait(LIMIT_S)
    assert code == (-number if number == signal.SIGKILL else 130)
    _, alive = psutil.wait_procs(children, LIMIT_S)
    assert not alive
