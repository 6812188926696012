"""The command as a process: what it prints where, how it ends, and how it is stopped."""

import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from constellation import cli
from constellation.command_log import set_up_logging

LIMIT_S = 120.0
FEW = ("--num-clients", "2", "--local-steps", "2", "--model", "linear")


@pytest.fixture
def folders(tmp_path: Path, key_dir: Path) -> list[str]:
    return ["--output", str(tmp_path / "runs"), "--key-dir", str(key_dir)]


def call(*arguments: str) -> int:
    return cli.call(cli.build_app(), arguments)


def test_json_is_one_object_on_stdout_and_warnings_go_to_stderr(
    folders: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("demo", *folders, *FEW, "--num-rounds", "1", "--batch-size", "8", "--json") == 0
    said = capsys.readouterr()
    result = json.loads(said.out)
    assert set(result) == {
        "run_id", "state", "engine", "dataset", "model", "strategy", "num_clients", "num_rounds", "rounds_completed",
        "accuracy", "loss", "updates_accepted", "updates_rejected", "rejections", "seconds_total", "seconds_rounds",
        "output",
    }  # fmt: skip
    assert (result["state"], result["updates_accepted"], result["rejections"]) == ("completed", 2, {})
    assert said.err == "warning: batch-size 8 is outside the usual range 16-128\n"
    stored = (Path(result["output"]) / "config.toml").read_text()
    assert "batch-size = 8\n" in stored


def test_usual_settings_are_not_warned_about(folders: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert call("demo", *folders, *FEW, "--num-rounds", "1") == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert "accuracy" in said.out
    assert "report.html" in said.out


@pytest.mark.parametrize(
    ("option", "value", "usual"),
    [
        ("local-epochs", "11", "1-10"),
        ("batch-size", "129", "16-128"),
        ("learning-rate", "0.2", "0.001-0.1"),
        ("num-rounds", "101", "1-100"),
    ],
)
def test_each_unusual_setting_is_named(option: str, value: str, usual: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("demo", f"--{option}", value, "--dataset", "nothing") == 2  # warned first, then refused
    first, second = capsys.readouterr().err.splitlines()
    assert first == f"warning: {option} {value} is outside the usual range {usual}"
    assert second.startswith("error: unknown dataset")


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--help") == 0
    text = capsys.readouterr().out
    for command in ("demo", "simulate", "evaluate", "predict", "runs", "keys"):
        assert command in text


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (("evaluate",), "a run's id, the beginning of one, its folder, or 'last'"),
        (("keys", "make"), "file with the key's password"),
        (("simulate",), "folder of the Flower App: the one with its pyproject.toml"),
        (("simulate",), "override [tool.flwr.app.config]:"),
    ],
)
def test_the_help_keeps_what_was_written(
    command: tuple[str, ...], text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    assert call(*command, "--help") == 0
    assert text in capsys.readouterr().out


@pytest.mark.e2e
def test_the_package_is_the_command_too() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "constellation", "runs", "--help"], capture_output=True, text=True, check=True
    )
    assert "compare" in done.stdout


@pytest.mark.parametrize("group", [(), ("runs",), ("keys",)])
def test_a_command_alone_shows_its_help(group: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*group) in (0, 2)
    said = capsys.readouterr()
    assert "Usage" in said.out + said.err


def test_an_unknown_command_is_bad_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("train") == 2
    assert "No such command 'train'" in capsys.readouterr().err


@pytest.mark.e2e
@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_cleanly_and_it_can_go_on(
    folders: list[str], tmp_path: Path, number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [sys.executable, "run_demo.py", *folders, *FEW, "--num-rounds", "100", "--json"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - a job in the background ignores it
    ) as process:  # fmt: skip
        wait_for_rounds(process, tmp_path / "runs", 2)
        workers = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        out, err = process.communicate(timeout=LIMIT_S)
    assert (process.returncode, err) == (130, "")
    assert len(workers) >= 2  # the zygote and what it forked
    _, alive = psutil.wait_procs(workers, timeout=LIMIT_S)
    assert not [worker for worker in alive if worker.status() != psutil.STATUS_ZOMBIE]
    result = json.loads(out)
    assert result["state"] == "interrupted"
    done = result["rounds_completed"]
    assert done >= 2
    assert call("demo", "--resume", result["output"], "--num-rounds", str(done + 1), "--json") == 0
    resumed = json.loads(capsys.readouterr().out)
    assert (resumed["state"], resumed["rounds_completed"]) == ("completed", done + 1)
    assert resumed["updates_accepted"] == 2 * (done + 1)


def wait_for_rounds(process: "subprocess.Popen[str]", output: Path, num_rounds: int) -> None:
    """Wait until so many rounds were closed."""
    while process.poll() is None:
        if sum(path.read_bytes().count(b'"round-closed"') for path in output.glob("*/events.jsonl")) >= num_rounds:
            return
    pytest.fail(f"the run ended by itself: {process.stderr and process.stderr.read()}")


TALKATIVE = """
import torch
print("imported")

def model(input_shape, num_classes):
    print("built")
    return Loud(torch.nn.Flatten(), torch.nn.Linear(784, num_classes))

class Loud(torch.nn.Sequential):
    def forward(self, inputs):
        print("forward")
        return super().forward(inputs)
"""


@pytest.mark.e2e
def test_json_is_one_object_whatever_a_persons_own_code_prints(folders: list[str], tmp_path: Path) -> None:
    (tmp_path / "talkative.py").write_text(TALKATIVE)
    command = [
        sys.executable, "run_demo.py", *folders, "--num-clients", "2", "--local-steps", "2", "--num-rounds", "1",
        "--model", "talkative:model", "--json",
    ]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=LIMIT_S, check=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert json.loads(done.stdout)["state"] == "completed"
    assert {"imported", "built", "forward"} <= set(done.stderr.split())


@pytest.mark.e2e
@pytest.mark.skipif(os.name != "posix", reason="closes descriptors before the program starts")
def test_a_run_needs_no_standard_streams(folders: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "run_demo.py", *folders, *FEW, "--num-rounds", "1"]
    done = subprocess.run(
        command,
        timeout=LIMIT_S,
        check=False,
        preexec_fn=lambda: os.closerange(0, 3),
    )
    assert done.returncode == 0
    (run_dir,) = (tmp_path / "runs").iterdir()
    assert (run_dir / "report.html").is_file()


def test_the_log_goes_to_a_file_at_the_level_asked_for(folders: list[str], tmp_path: Path) -> None:
    log = tmp_path / "log"
    options = ("--num-rounds", "1", "--min-valid", "2", "--attack", "forge:1", "--log-file", str(log))
    assert call("demo", *folders, *FEW, *options, "--json") == 0
    assert "keeps the old model: 1 good updates, min-valid is 2" in log.read_text()
    log.unlink()
    assert call("demo", *folders, *FEW, *options, "--json", "--log-level", "error") == 0
    assert log.read_text() == ""


def test_flower_warns_of_everything_but_what_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("warning", None)
    logging.getLogger("flwr").warning("fraction_evaluate is set to 0.0. Federated evaluation will be skipped.")
    logging.getLogger("flwr").warning("something else")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("WARNING flwr: something else")
