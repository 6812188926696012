"""Runs are found by name and told apart by what their folders hold."""

import shutil
from pathlib import Path

import pytest

from app import run_lock
from app.run_folder import is_run_dir, run_dirs
from constellation.recorded_runs import find_run, read_run
from shared.errors import UsageError
from tests.constellation.recorded import NOW, write_run


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def test_a_run_is_found_by_id_prefix_path_and_last(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = write_run(output, "20260101-aa", 0.5, began=NOW - 60), write_run(output, "20250101-bb", 0.5)
    assert find_run("20260101-aa", output) == old
    assert find_run("2026", output) == old
    assert find_run(str(old), Path("elsewhere")) == old
    assert find_run(f"{old}/", Path("elsewhere")) == old
    assert find_run("last", output) == new  # by when it began, whatever it is called
    monkeypatch.chdir(old)
    assert find_run(".", Path("elsewhere")) == old
    monkeypatch.chdir(output)
    assert find_run("20250101-bb", Path("elsewhere")) == Path("20250101-bb")


def test_an_id_that_begins_another_is_still_found(output: Path) -> None:
    short, _ = write_run(output, "a", 0.5), write_run(output, "ab", 0.5)
    assert find_run("a", output) == short


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("2026", "2 runs in .* begin with '2026'"),
        ("nothing", "there is no run 'nothing' in .*constellation runs list"),
        ("", "is not the folder of a run"),
        ("..", "is not the folder of a run"),
        ("/", "is not the folder of a run"),
    ],
)
def test_a_name_that_is_no_run_is_one_sentence(output: Path, name: str, part: str) -> None:
    write_run(output, "2026-a", 0.5)
    write_run(output, "2026-b", 0.5)
    with pytest.raises(UsageError, match=part):
        find_run(name, output)


def test_there_is_no_last_run_in_an_empty_folder(output: Path) -> None:
    with pytest.raises(UsageError, match="there is no run in"):
        find_run("last", output)


def test_only_a_folder_with_settings_and_events_is_a_run(output: Path, tmp_path: Path) -> None:
    good = write_run(output, "good", 0.5)
    for name, missing in (("no-events", "events.jsonl"), ("no-config", "config.toml")):
        (write_run(output, name, 0.5) / missing).unlink()
    (output / "linked").symlink_to(good)
    hollow = output / "linked-files"
    hollow.mkdir()
    for name in ("config.toml", "events.jsonl"):
        (hollow / name).symlink_to(good / name)
    shutil.copytree(good, output / ".hidden")
    (output / "notes.txt").write_text("mine")
    assert run_dirs(output) == [good]
    assert not is_run_dir(output / "linked")
    assert not is_run_dir(tmp_path / "nothing")


def test_a_path_that_is_a_link_to_a_run_is_read(output: Path, tmp_path: Path) -> None:
    good = write_run(output, "good", 0.5)
    (tmp_path / "best").symlink_to(good)
    assert find_run(str(tmp_path / "best"), output) == good


def test_a_run_without_an_end_was_killed_unless_its_process_lives(output: Path) -> None:
    path = write_run(output, "a", 0.5, state=None)
    assert read_run(path).state == "killed"
    with run_lock.held(path):
        assert read_run(path).state == "running"
    assert read_run(path).state == "killed"


def test_an_ended_run_that_goes_on_is_running(output: Path) -> None:
    path = write_run(output, "a", 0.5, state="stopped")
    assert read_run(path).state == "stopped"
    with run_lock.held(path):
        assert read_run(path).state == "running"


def test_a_run_killed_before_its_first_event_is_read_from_its_settings(output: Path) -> None:
    path = write_run(output, "a", 0.5, num_clients=7)
    (path / "events.jsonl").write_bytes(b"")
    run = read_run(path)
    assert (run.state, run.setting("num-clients"), run.summary.rounds_completed) == ("killed", 7, 0)
    (path / "config.toml").write_bytes(b"\xff not toml")
    assert read_run(path).setting("num-clients") == ""


def test_rubbish_in_the_events_is_passed_over(output: Path) -> None:
    path = write_run(output, "a", 0.5)
    with (path / "events.jsonl").open("ab") as file:
        file.write(b'{"type": 3}\n[1, 2]\nnot json\n{"type": "model-evaluated", "server-round": "x"}\n{"torn')
    assert read_run(path).summary.accuracy == 0.5
