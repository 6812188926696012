"""`constellation runs list|show|compare`: tables for people, one JSON object for programs."""

import json
import time
from pathlib import Path

import pytest
from rich.console import Console

from constellation import cli, run_tables
from constellation.recorded_runs import read_runs
from tests.constellation.recorded import NOW, write_run


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = cli.call(cli.build_app(), ["runs", *arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


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
