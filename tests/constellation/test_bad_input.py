"""What a user gets wrong ends in one sentence, an exit code, and no run folder."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from app import run_lock
from constellation import cli
from constellation.training import run
from shared.config import RunConfig

Small = Callable[..., RunConfig]


class Command:
    """Runs the command in this process and looks at what it said."""

    def __init__(self, capsys: pytest.CaptureFixture[str], output: Path, key_dir: Path) -> None:
        self._capsys = capsys
        self.output = output
        self._common = ["--output", str(output), "--key-dir", str(key_dir)]

    def demo(self, *arguments: str) -> tuple[int, str]:
        return self.call("demo", *self._common, *arguments)

    def call(self, *arguments: str) -> tuple[int, str]:
        """Return the exit code and the one sentence on stderr."""
        self._capsys.readouterr()
        code = cli.call(cli.build_app(), arguments)
        said = self._capsys.readouterr()
        assert said.out == ""
        assert said.err.startswith("error: ")
        assert said.err.count("\n") == 1, said.err
        return code, said.err.removeprefix("error: ").strip()


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], tmp_path: Path, key_dir: Path) -> Command:
    return Command(capsys, tmp_path / "runs", key_dir)


# options, the exit code, and parts of the sentence: what, where, what to do
CASES = {
    "unknown dataset": ("--dataset imagenet", 2, ["unknown dataset 'imagenet'", "mnist-sample", "folder:PATH"]),
    "nearly a dataset": ("--dataset mnist-smaple", 2, ["did you mean mnist-sample?"]),
    "dataset without its path": ("--dataset folder:", 2, ["folder:PATH"]),
    "dataset path that is not there": ("--dataset npz:/no/such.npz", 2, ["/no/such.npz"]),
    "alpha 0": ("--alpha 0", 2, ["alpha must be above 0, got 0"]),
    "alpha nan": ("--alpha nan", 2, ["alpha must be above 0, got nan"]),
    "0 rounds": ("--num-rounds 0", 2, ["num-rounds must be at least 1, got 0"]),
    "0 clients": ("--num-clients 0", 2, ["num-clients must be at least 1, got 0"]),
    "fraction above 1": ("--fraction 1.5", 2, ["fraction must be above 0 and at most 1, got 1.5"]),
    "more clients than examples": ("--num-clients 9000", 2, ["9000", "8000 training examples", "lower --num-clients"]),
    "unknown strategy": ("--strategy fedmagic", 2, ["strategy must be one of fedavg", "'pkg.mod:attr'", "'fedmagic'"]),
    "unknown model": ("--model transformer", 2, ["model must be one of cnn, linear, mlp", "'transformer'"]),
    "unknown aggregation": ("--aggregation mode", 2, ["aggregation must be one of mean", "'mode'"]),
    "aggregation elsewhere": ("--strategy krum --num-clients 5 --aggregation median", 2, ["aggregation", "krum"]),
    "plugin that is not there": ("--model no_such_mod:build", 2, ["no_such_mod:build", "check the name"]),
    "plugin without the name": ("--model json:build", 2, ["'json' has no 'build'"]),
    "plugin of another kind": ("--dataset json:loads", 2, ["json:loads"]),
    "krum with too few": ("--strategy krum --num-malicious 2", 2, ["at least 7 clients", "raise num-clients"]),
    "attack without a number": ("--attack forge", 2, ["attack must be NAME:K", "got 'forge'"]),
    "attack nobody knows": ("--attack bribe:1", 2, ["attack must be NAME:K", "got 'bribe:1'"]),
    "more attackers than clients": ("--attack forge:2 --attack nan:2", 2, ["at most num-clients (3) in all, got 4"]),
    "port out of range": ("--web-port 70000", 2, ["web-port must be at least 0 and at most 65535, got 70000"]),
    "engine of later": ("--engine ray", 2, ["engine 'ray'", "--engine local"]),
    "log file in no folder": ("--log-file /no/such/folder/log", 2, ["log-file /no/such/folder/log", "name another"]),
    "log level": ("--log-level loud", 2, ["log-level must be one of debug", "got 'loud'"]),
    "seeds that are none": ("--seeds 1,x", 2, ["seeds must be different whole numbers", "'1,x'"]),
    "unknown option": ("--num-round 3", 2, ["No such option", "--num-round", "--num-rounds", "--help"]),
    "two values": ("--num-rounds 3 4", 2, ["unexpected extra argument (4)", "--help"]),
    "a word for a number": ("--num-rounds many", 2, ["--num-rounds", "'many' is not a valid integer", "--help"]),
    "option without its value": ("--seed", 2, ["--seed", "requires an argument"]),
    "key folder below a file": ("--key-dir /dev/null/keys", 1, ["key folder /dev/null/keys", "--key-dir"]),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_is_one_sentence_and_leaves_no_folder(command: Command, case: str) -> None:
    options, code, parts = CASES[case]
    got, sentence = command.demo(*options.split())
    assert got == code
    for part in parts:
        assert part in sentence
    assert not command.output.exists()


def test_an_output_below_a_file_cannot_be_written(command: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, sentence = command.demo("--output", str(tmp_path / "file" / "runs"), "--num-clients", "2")
    assert code == 2
    assert f"{tmp_path}/file/runs" in sentence
    assert sentence.endswith("name another with --output")


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"num-round = 3\n", ["unknown key 'num-round'", "did you mean num-rounds?"]),
        (b"[run]\nnum-rounds = 'three'\n", ["num-rounds", "must be a whole number, got 'three'"]),
        (b"num-rounds = \n", ["is not valid TOML"]),
        (b"\xff\xfe\x00", ["cannot be read: it is not text"]),
        (b"alpha = -1.0\n", ["alpha must be above 0, got -1.0"]),
    ],
)
def test_a_bad_settings_file_is_named(command: Command, tmp_path: Path, content: bytes, parts: list[str]) -> None:
    path = tmp_path / "settings.toml"
    path.write_bytes(content)
    code, sentence = command.demo("--config", str(path))
    assert code == 2
    for part in [str(path), *parts]:
        assert part in sentence
    assert not command.output.exists()


def test_a_settings_file_that_is_not_there_or_a_folder_is_named(command: Command, tmp_path: Path) -> None:
    for path in (tmp_path / "nothing.toml", tmp_path):
        code, sentence = command.demo("--config", str(path))
        assert code == 2
        assert f"config file {path} cannot be read" in sentence


def test_a_folder_that_is_no_run_cannot_be_resumed(command: Command, tmp_path: Path) -> None:
    code, sentence = command.call("demo", "--resume", str(tmp_path))
    assert code == 1
    assert f"{tmp_path} holds no run to resume" in sentence
    assert list(tmp_path.iterdir()) == []


def test_resume_takes_no_settings_that_change_the_run(command: Command, small: Small) -> None:
    folder = run(small(num_rounds=1)).output
    code, sentence = command.call("demo", "--resume", str(folder), "--seed", "3")
    assert code == 2
    assert "seed cannot change when a run goes on" in sentence
    code, sentence = command.call("demo", "--resume", str(folder), "--config", str(folder / "config.toml"))
    assert code == 2
    assert "config cannot be given with --resume" in sentence


@pytest.mark.parametrize("name", ["events.jsonl", "checkpoint.sqlite", "checkpoint.sqlite-wal", "config.toml"])
def test_a_folder_with_links_is_not_resumed_and_nothing_is_written_where_they_point(
    command: Command, small: Small, tmp_path: Path, name: str
) -> None:
    folder = run(small(num_rounds=1)).output
    target = tmp_path / "elsewhere"
    target.write_bytes((folder / name).read_bytes() if (folder / name).exists() else b"")
    before = target.read_bytes()
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(target)
    code, sentence = command.call("demo", "--resume", str(folder), "--num-rounds", "2")
    assert code == 1
    assert f"{folder / name} is a link" in sentence
    assert target.read_bytes() == before


def test_a_checkpoint_of_another_model_is_not_resumed(command: Command, small: Small) -> None:
    folder = run(small(num_rounds=1)).output
    settings = (folder / "config.toml").read_text()
    (folder / "config.toml").write_text(settings.replace('model = "linear"', 'model = "mlp"'))
    code, sentence = command.call("demo", "--resume", str(folder), "--num-rounds", "2")
    assert code == 1
    assert "holds another model" in sentence


@pytest.mark.parametrize("damage", ["garbage", "cut", "flipped"])
def test_a_corrupt_checkpoint_is_not_resumed(command: Command, small: Small, damage: str) -> None:
    folder = run(small(num_rounds=1)).output
    path = folder / "checkpoint.sqlite"
    good = path.read_bytes()
    snippet = (folder / "model.safetensors").read_bytes()[-64:]  # of the last closed round's model
    place = good.index(snippet)
    path.write_bytes(
        {
            "garbage": b"this is not a checkpoint" * 400,
            "cut": good[: len(good) // 2],
            "flipped": good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :],
        }[damage]
    )
    before = (folder / "events.jsonl").read_bytes()
    code, sentence = command.call("demo", "--resume", str(folder), "--num-rounds", "2")
    assert code == 1
    assert f"checkpoint {path} is corrupt" in sentence
    assert "start the run anew or restore the file" in sentence
    assert (folder / "events.jsonl").read_bytes() == before


def test_a_run_under_way_is_not_resumed_twice(command: Command, small: Small) -> None:
    folder = run(small(num_rounds=1)).output
    with run_lock.held(folder):
        code, sentence = command.call("demo", "--resume", str(folder), "--num-rounds", "2")
    assert code == 2
    assert f"run {folder} is under way in another process" in sentence


@pytest.mark.skipif(os.name != "posix", reason="rights of files are POSIX's")
def test_keys_that_others_can_read_are_refused(command: Command, tmp_path: Path, small: Small) -> None:
    keys = tmp_path / "open-keys"
    run(small(num_rounds=1, num_clients=2, key_dir=str(keys), output=str(tmp_path / "earlier")))
    (keys / "server.pem").chmod(0o644)
    code, sentence = command.demo("--key-dir", str(keys))
    assert code == 1
    assert f"private key {keys}/server.pem can be read by others; run: chmod 600 {keys}/server.pem" in sentence
    assert not command.output.exists()


@pytest.mark.skipif(os.name != "posix", reason="rights of files are POSIX's")
def test_a_key_folder_that_others_can_write_to_is_refused(command: Command, tmp_path: Path) -> None:
    keys = tmp_path / "shared-keys"
    keys.mkdir()
    keys.chmod(0o777)
    code, sentence = command.demo("--key-dir", str(keys))
    assert code == 1
    assert f"key folder {keys} can be written by others; run: chmod 700 {keys}" in sentence
    assert not command.output.exists()


def _limited_to(num_bytes: int) -> Callable[[], None]:
    """Make files end at so many bytes: for whoever writes it is like a disk that is full."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, num_bytes))


@pytest.mark.e2e
@pytest.mark.parametrize("num_bytes", [0, 100, 20_000, 60_000])
def test_a_full_disk_ends_the_run_with_one_sentence(tmp_path: Path, key_dir: Path, num_bytes: int) -> None:
    arguments = ["--output", str(tmp_path / "runs"), "--key-dir", str(key_dir), "--json"]
    small = ["--num-clients", "2", "--local-steps", "2", "--model", "linear", "--num-rounds", "20"]
    done = subprocess.run(
        [sys.executable, "run_demo.py", *arguments, *small],
        capture_output=True, text=True, timeout=120, check=False, preexec_fn=_limited_to(num_bytes),
    )  # fmt: skip
    assert done.returncode in (1, 2), done.stderr
    assert "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr
    assert str(tmp_path / "runs") in errors[0]
    assert done.stdout == ""
    if num_bytes < 1000:
        assert not list((tmp_path / "runs").glob("*"))


@pytest.mark.e2e
def test_the_real_process_says_it_on_stderr_too(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "run_demo.py", "--alpha", "0", "--json"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "error: alpha must be above 0, got 0.0\n")
