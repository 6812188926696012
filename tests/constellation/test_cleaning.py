"""`constellation runs clean` removes what was asked for, and never anything else."""

import json
import os
import shutil
from pathlib import Path

import pytest

from app import run_lock
from app.run_folder import is_run_dir, run_dirs
from constellation import cleaning, cli
from constellation.cleaning import Rules
from constellation.recorded_runs import RecordedRun, read_runs
from shared.errors import UsageError
from tests.constellation.recorded import DAY_S, NOW, write_run


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = cli.call(cli.build_app(), ["runs", *arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


def ids(runs: list[RecordedRun]) -> list[str]:
    return [run.run_id for run in runs]


def make_runs(output: Path) -> list[RecordedRun]:
    """Five runs, the oldest first: one day apart, the newest an hour old."""
    states = ["completed", "failed", "completed", None, "completed"]
    for number, state in enumerate(states):
        write_run(output, f"run-{number}", 0.5, began=NOW - 3600 - (4 - number) * DAY_S, state=state)
    return read_runs(output)


@pytest.mark.parametrize(
    ("rules", "chosen"),
    [
        (Rules(not_completed=True), [1, 3]),
        (Rules(older_than_days=2.5), [0, 1]),
        (Rules(older_than_days=0), [0, 1, 2, 3, 4]),
        (Rules(keep_last=2), [0, 1, 2]),
        (Rules(keep_last=0), [0, 1, 2, 3, 4]),
        (Rules(keep_last=9), []),
        (Rules(not_completed=True, older_than_days=3.5), [0, 1, 3]),
        (Rules(not_completed=True, keep_last=2), [1]),
        (Rules(older_than_days=0, keep_last=4), [0]),
    ],
)
def test_the_rules_choose_what_goes(output: Path, rules: Rules, chosen: list[int]) -> None:
    assert ids(cleaning.choose(make_runs(output), rules, NOW)) == [f"run-{number}" for number in chosen]


def test_a_run_under_way_always_stays(output: Path) -> None:
    path = write_run(output, "a", 0.5, state=None)
    with run_lock.held(path):
        assert cleaning.choose(read_runs(output), Rules(keep_last=0), NOW) == []
        with pytest.raises(UsageError, match="under way"):
            cleaning.remove(path)
    assert is_run_dir(path)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ([], "give --not-completed, --older-than DAYS or --keep K"),
        (["--keep", "-1"], "--keep must be 0 or more"),
        (["--older-than", "-1"], "--older-than must be 0 or more"),
        (["--older-than", "nan"], "--older-than must be 0 or more"),
    ],
)
def test_clean_wants_to_know_what(
    output: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], part: str
) -> None:
    make_runs(output)
    code, _, err = call(capsys, "clean", "--output", str(output), "--yes", *arguments)
    assert code == 2
    assert part in err
    assert len(run_dirs(output)) == 5


def test_clean_removes_what_was_chosen_and_nothing_else(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_runs(output)
    (output / "notes").mkdir()
    (output / "notes" / "config.toml").write_text("mine")
    code, out, _ = call(capsys, "clean", "--output", str(output), "--not-completed", "--yes", "--json")
    assert code == 0
    assert json.loads(out)["removed"] == ["run-1", "run-3"]
    assert sorted(path.name for path in output.iterdir()) == ["notes", "run-0", "run-2", "run-4"]
    assert (output / "notes" / "config.toml").read_text() == "mine"


def test_a_dry_run_removes_nothing(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_runs(output)
    code, out, _ = call(capsys, "clean", "--output", str(output), "--keep", "1", "--dry-run")
    assert code == 0
    assert out.splitlines()[-1].startswith(f"would remove 4 runs in {output}, ")
    assert len(run_dirs(output)) == 5


class Terminal:
    """A person at the keyboard with one answer."""

    def __init__(self, answer: str) -> None:
        self._answer = answer

    def isatty(self) -> bool:
        return True

    def readline(self) -> str:
        return self._answer + "\n"


@pytest.mark.parametrize(("answer", "left", "code"), [("y", 1, 0), ("n", 5, 1), ("", 5, 1)])
def test_clean_asks_first(
    output: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
    left: int,
    code: int,
) -> None:
    make_runs(output)
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    got, _, err = call(capsys, "clean", "--output", str(output), "--keep", "1")
    assert got == code
    assert f"remove 4 runs in {output}" in err
    assert len(run_dirs(output)) == left


def test_where_nobody_can_answer_nothing_is_removed(
    output: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_runs(output)
    with open(os.devnull) as nobody:
        monkeypatch.setattr("sys.stdin", nobody)
        code, _, err = call(capsys, "clean", "--output", str(output), "--keep", "1")
    assert code == 2
    assert "add --yes" in err
    assert len(run_dirs(output)) == 5


def test_links_in_a_run_are_removed_and_what_they_point_to_stays(output: Path, tmp_path: Path) -> None:
    path = write_run(output, "a", 0.5)
    treasure = tmp_path / "treasure"
    treasure.mkdir()
    (treasure / "file").write_text("mine")
    (path / "folder-link").symlink_to(treasure)
    (path / "file-link").symlink_to(treasure / "file")
    assert cleaning.size_of(path) < 100_000
    cleaning.remove(path)
    assert not path.exists()
    assert (treasure / "file").read_text() == "mine"


def test_what_is_no_run_is_never_removed(output: Path, tmp_path: Path) -> None:
    real = write_run(tmp_path / "other", "real", 0.5)
    output.mkdir()
    (output / "linked").symlink_to(real)
    (output / "folder").mkdir()
    for name in ("linked", "folder", "nothing"):
        with pytest.raises(UsageError, match="is not the folder of a run; it was not touched"):
            cleaning.remove(output / name)
    assert is_run_dir(real)
    assert (output / "folder").is_dir()


def test_an_interrupted_removal_leaves_no_half_run_in_the_list(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_run(output, "a", 0.5)

    def interrupted(_: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cleaning.remove(path)
    assert run_dirs(output) == []
