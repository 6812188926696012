"""`constellation runs`: runs are found, listed, shown, compared, and removed with care."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest
from rich.console import Console

from app import run_lock
from constellation import cleaning, cli, run_tables
from constellation.cleaning import Rules
from constellation.recorded_runs import RecordedRun, find_run, is_run_dir, read_run, read_runs, run_dirs
from monitor.sinks import JsonlSink
from shared.config import RunConfig
from shared.errors import UsageError
from shared.events import (
    Event,
    EventLog,
    ModelEvaluated,
    PhaseEnded,
    RoundClosed,
    RoundStarted,
    RunEnded,
    RunStarted,
    UpdateAccepted,
    UpdateRejected,
)

DAY_S = 86_400.0
NOW = 1_800_000_000.0


def round_events(number: int, accuracy: float) -> list[Event]:
    """One round of two clients: client-0's update is taken, client-1's is refused."""
    return [
        RoundStarted(server_round=number, attempt=1),
        UpdateAccepted(server_round=number, phase="train", client="client-0", num_examples=10, norm=1.0, metrics={}),
        UpdateRejected(
            server_round=number, phase="train", client="client-1", node_id="2", reason="bad-signature", detail="no"
        ),
        PhaseEnded(
            server_round=number, phase="train", accepted=1, rejected=1, late=0, collect_seconds=1.0,
            aggregate_seconds=0.1, kept_old_model=False, metrics={},
        ),
        ModelEvaluated(server_round=number, metrics={"loss": 1 - accuracy, "accuracy": accuracy}, seconds=0.1),
        RoundClosed(server_round=number, seconds=2.0, model_digest="ab", checkpoint_seconds=0.1),
    ]  # fmt: skip


def write_run(
    output: Path,
    run_id: str,
    *accuracies: float,
    began: float = NOW,
    state: str | None = "completed",
    **settings: object,
) -> Path:
    """Write what a run leaves; a state of None breaks it off after its last round."""
    config = RunConfig(num_rounds=len(accuracies) or 1, output=str(output), **settings)  # type: ignore[arg-type]
    path = output / run_id
    path.mkdir(parents=True)
    (path / "config.toml").write_text(config.to_toml())
    log = EventLog(run_id, [JsonlSink(path / "events.jsonl")], lambda: began)
    names = ["client-0", "client-1"]
    log.emit(
        RunStarted(
            config=dict(config.as_flat()), first_round=1, clients=names, num_clients=2, num_parameters=5, workers=1
        )
    )
    for number, accuracy in enumerate(accuracies, start=1):
        for event in round_events(number, accuracy):
            log.emit(event)
    if state is not None:
        log.emit(RunEnded(state=state, rounds_completed=len(accuracies), seconds=4.0))
    log.close()
    return path


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


# ---- finding ----


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


# ---- reading ----


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


# ---- list, show, compare ----


def test_the_list_is_a_table_and_json(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(output, "b-newer", 0.25, 0.75, began=time.time())
    write_run(output, "a-newest", 0.5, began=time.time() + 1, state="failed")
    code, out, err = call(capsys, "list", "--output", str(output))
    assert (code, err) == (0, "")
    header, first, second = out.splitlines()
    assert header.split()[:3] == ["run", "state", "data"]
    assert first.split() == ["b-newer", "completed", "mnist-sample", "2/2", "75.0%", "2", "0", "min"]
    assert second.split()[:2] == ["a-newest", "failed"]
    code, out, err = call(capsys, "list", "--output", str(output), "--json")
    listed = json.loads(out)
    assert [run["run_id"] for run in listed["runs"]] == ["b-newer", "a-newest"]
    figures = listed["runs"][0]
    assert (figures["accuracy"], figures["loss"]) == (0.75, 0.25)
    assert (figures["updates_accepted"], figures["updates_rejected"]) == (2, 2)
    assert (figures["rejections"], figures["rounds_completed"]) == ({"bad-signature": 2}, 2)
    assert figures["output"] == str(output / "b-newer")


def test_the_list_fits_80_columns_and_says_more_on_120(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(output, "20261122-102555-7db110", 0.5, state="interrupted")
    for width, has_strategy in ((80, False), (120, True)):
        console = Console(width=width, highlight=False)
        run_tables.list_runs(read_runs(output), output, NOW, console)
        out = capsys.readouterr().out
        assert max(map(len, out.splitlines())) <= width
        assert "20261122-102555-7db110" in out
        assert "interrupted" in out
        assert "…" not in out
        assert ("fedavg" in out) is has_strategy


def test_an_empty_or_missing_folder_lists_nothing(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "list", "--output", str(output))[:2] == (0, f"no runs in {output} yet\n")
    assert json.loads(call(capsys, "list", "--output", str(output), "--json")[1])["runs"] == []


def test_a_folder_that_is_a_file_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    code, _, err = call(capsys, "list", "--output", str(tmp_path / "file"))
    assert (code, err) == (2, f"error: output folder {tmp_path}/file cannot be read: Not a directory; "
                              "name another with --output\n")  # fmt: skip


def test_the_environment_names_the_folder(
    output: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(output, "a", 0.5)
    monkeypatch.setenv("CONSTELLATION_OUTPUT", str(output))
    assert "completed" in call(capsys, "list")[1]


def test_show_tells_settings_rounds_and_refusals(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(output, "a", 0.25, 0.75, state=None, alpha=0.125)
    code, out, err = call(capsys, "show", "a", "--output", str(output))
    assert (code, err) == (0, "")
    assert "run a: killed" in out
    rows = [line.split() for line in out.splitlines()]
    assert ["alpha", "0.125"] in rows
    assert ["2", "75.00%", "0.2500", "1", "1", "0", "2.0", "s"] in rows
    assert any(row[:4] == ["2", "client-1", "train", "bad-signature:"] for row in rows)
    assert "seed" not in out  # a default
    assert f"constellation demo --resume {output}/a" in out
    assert "seed" in call(capsys, "show", "a", "--output", str(output), "--all-settings")[1]
    shown = json.loads(call(capsys, "show", "a", "--output", str(output), "--json")[1])
    assert shown["config"]["alpha"] == 0.125
    assert [row["accuracy"] for row in shown["rounds"]] == [0.25, 0.75]
    assert [refusal["reason"] for refusal in shown["refusals"]] == ["bad-signature"] * 2


def test_compare_shows_only_the_settings_that_differ(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(output, "a", 0.25, 0.75, alpha=0.5, seed=1)
    write_run(output, "b", 0.5, alpha=0.125, seed=1, state="failed")
    code, out, _ = call(capsys, "compare", "a", "b", "--output", str(output))
    rows = [line.split() for line in out.splitlines()]
    assert code == 0
    assert ["alpha", "0.5", "0.125"] in rows
    assert ["num-rounds", "2", "1"] in rows
    assert not [row for row in rows if row[0] in ("seed", "output", "dataset")]
    assert ["final", "accuracy", "75.00%", "50.00%"] in rows
    assert ["accuracy,", "round", "2", "75.0%", "–"] in rows
    compared = json.loads(call(capsys, "compare", "a", "b", "--output", str(output), "--json")[1])
    assert compared["changed_settings"] == {"alpha": [0.5, 0.125], "num-rounds": [2, 1]}
    assert compared["accuracy_by_round"] == {"1": [0.25, 0.5], "2": [0.75, None]}


def test_compare_wants_two_different_runs(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(output, "a", 0.5)
    for names in (["a"], ["a", "last"]):
        code, _, err = call(capsys, "compare", *names, "--output", str(output))
        assert code == 2
        assert "two different runs" in err


def test_names_from_outside_cannot_move_the_cursor(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(output, "a\x1b[2J", 0.5, dataset="csv:\x1b]0;owned\x07[bold]x")
    for arguments in (["list"], ["show", "last"]):
        out = call(capsys, *arguments, "--output", str(output))[1]
        assert "\x1b" not in out
        assert "\x07" not in out


# ---- clean ----


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
