"""Folders are brought into the store from where it ends; what is wrong with one of them keeps no other out."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from app.control.importer import BATCH_ROWS, Importer
from app.storage.store import Store
from app.storage.values import Ingested, RunSource
from shared.errors import NotFound
from shared.parameters import model_digest
from tests.recorded_events import recorded_run

Rows = list[dict[str, object]]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(f"sqlite:///{tmp_path}/store.db", str(tmp_path / "objects")) as opened:
        yield opened


@pytest.fixture
def output(tmp_path: Path) -> Path:
    (tmp_path / "runs").mkdir()
    return tmp_path / "runs"


def rows_of(run_id: str, **changes: int) -> Rows:
    return list(recorded_run(run_id, **{"num_clients": 4, "num_rounds": 3, **changes}))  # type: ignore[arg-type]


def write(output: Path, run_id: str, rows: Rows) -> Path:
    folder = output / run_id
    folder.mkdir(exist_ok=True)
    (folder / "config.toml").write_text("num-rounds = 3\n")
    (folder / "events.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def seqs(store: Store, run_id: str) -> list[int]:
    return [event.seq for event in store.events(run=run_id, limit=500)]


def test_a_run_that_reported_to_nobody_appears(store: Store, output: Path) -> None:
    rows = rows_of("quiet")
    write(output, "quiet", rows)
    told: list[Ingested] = []
    assert Importer(store, output, on_ingested=told.append).scan() == len(rows)
    run = store.run("quiet")
    assert (run.state, run.origin, run.rounds_completed) == ("completed", "import", 3)
    assert [(event.seq, event.type) for event in store.events(run="quiet", limit=500)] == [
        (row["seq"], row["type"]) for row in rows
    ]
    assert sum(len(one.events) for one in told) == len(rows)
    assert told[0].is_new_run


def test_the_model_of_an_imported_run_is_kept_once_it_is_there(store: Store, output: Path) -> None:
    rows = rows_of("quiet")
    arrays = {"w": np.ones(3, dtype=np.float32)}
    for row in rows:
        if row["type"] == "round-closed":
            row["model-digest"] = model_digest(arrays).hex()
    folder = write(output, "quiet", rows)
    importer = Importer(store, output)
    importer.scan()
    assert [model for model in store.models("quiet").items if model.size_bytes] == []
    safetensors.numpy.save_file(arrays, folder / "model.safetensors")
    importer.scan()
    (kept,) = [model for model in store.models("quiet").items if model.size_bytes]
    assert (kept.server_round, kept.digest) == (3, model_digest(arrays).hex())


def test_a_link_in_the_place_of_a_model_is_not_followed(store: Store, output: Path, tmp_path: Path) -> None:
    folder = write(output, "quiet", rows_of("quiet"))
    safetensors.numpy.save_file({"w": np.ones(3, dtype=np.float32)}, tmp_path / "elsewhere.safetensors")
    (folder / "model.safetensors").symlink_to(tmp_path / "elsewhere.safetensors")
    Importer(store, output).scan()
    assert [model for model in store.models("quiet").items if model.size_bytes] == []


def test_what_is_known_is_not_read_again(store: Store, output: Path) -> None:
    rows = rows_of("run")
    store.ingest("run", rows[:10], RunSource(origin="terminal"))
    write(output, "run", rows)
    importer = Importer(store, output)
    assert importer.scan() == len(rows) - 10
    assert importer.scan() == 0
    assert store.run("run").origin == "terminal"


def test_a_file_that_grows_is_followed(store: Store, output: Path) -> None:
    rows = rows_of("run")
    importer = Importer(store, output)
    write(output, "run", rows[:5])
    assert importer.scan() == 5
    write(output, "run", rows)
    assert importer.scan() == len(rows) - 5
    assert seqs(store, "run") == [row["seq"] for row in rows]


def test_a_run_that_reports_itself_is_left_alone(store: Store, output: Path) -> None:
    rows = rows_of("run")
    importer = Importer(store, output)
    write(output, "run", rows[:5])
    importer.scan()
    store.ingest("run", rows[5:8], RunSource())  # it is being told, only a little late
    write(output, "run", rows)
    assert importer.scan() == 0
    assert importer.scan() == len(rows) - 8  # and now nobody tells


def test_a_long_run_comes_in_batches(store: Store, output: Path) -> None:
    rows = rows_of("long", num_clients=20, num_rounds=20)
    assert len(rows) > 2 * BATCH_ROWS
    write(output, "long", rows)
    told: list[Ingested] = []
    Importer(store, output, on_ingested=told.append).scan()
    assert max(len(one.events) for one in told) <= BATCH_ROWS + 1
    assert store.run("long").last_seq == rows[-1]["seq"]


@pytest.mark.parametrize("missing", [{BATCH_ROWS}, {BATCH_ROWS + 1}, {BATCH_ROWS - 1, BATCH_ROWS, BATCH_ROWS + 1}, {7}])
def test_a_hole_that_a_full_disk_left_passes(store: Store, output: Path, missing: set[int]) -> None:
    rows = [row for row in rows_of("long", num_clients=20, num_rounds=15) if row["seq"] not in missing]
    write(output, "long", rows)
    Importer(store, output).scan()
    assert store.run("long").last_seq == rows[-1]["seq"]
    assert len(store.events(run="long", limit=500)) == 500


def test_torn_and_foreign_lines_are_passed_over(store: Store, output: Path) -> None:
    rows = rows_of("run")
    folder = write(output, "run", rows[:4])
    with (folder / "events.jsonl").open("ab") as file:
        file.write(b'{"seq":5,"ts":1.0,"run":"run","type":"round-st}\n')
        file.write(b"\xff\xfe not json\n" + b"[1, 2]\n" + b"[" * 100_000 + b"\n")
        file.write("".join(json.dumps(row) + "\n" for row in rows[5:]).encode())
        file.write(b'{"seq":999,"ts":1.0,"run":"run"')  # still being written
    Importer(store, output).scan()
    assert seqs(store, "run") == [row["seq"] for row in rows if row["seq"] != 5]


@pytest.mark.parametrize(
    "row",
    [
        {"seq": 2, "ts": "now", "run": "bad", "type": "round-started"},
        {"seq": 2, "ts": 1.0, "run": "bad", "type": "run-ended", "state": "<script>"},
        {"seq": 2, "ts": 1.0, "run": "bad", "type": 7},
    ],
)
def test_a_row_that_is_no_event_keeps_no_other_out(
    store: Store, output: Path, row: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    rows = rows_of("bad")
    write(output, "bad", [rows[0], row, *rows[2:]])
    Importer(store, output).scan()
    assert seqs(store, "bad") == [row["seq"] for row in rows if row["seq"] != 2]
    assert "an event of run bad is left out: events[1]" in caplog.text


NOT_OURS = {"seq": 2, "ts": 1.0, "run": "somebody-elses", "type": "round-started", "server-round": 1, "attempt": 1}


@pytest.mark.parametrize("bad", [[NOT_OURS], [{"seq": n, "run": "bad"} for n in range(2, 40)]])
def test_a_hostile_folder_is_refused_and_the_others_come_in(
    store: Store, output: Path, bad: Rows, caplog: pytest.LogCaptureFixture
) -> None:
    write(output, "bad", [rows_of("bad")[0], *bad])
    write(output, "good", rows_of("good"))
    importer = Importer(store, output)
    importer.scan()
    assert store.run("good").state == "completed"
    with pytest.raises(NotFound):
        store.run("bad")
    assert "bad cannot be imported" in caplog.text
    caplog.clear()
    importer.scan()
    assert caplog.text == ""  # said once, until the file changes


def test_links_pipes_and_hidden_folders_are_no_runs(store: Store, output: Path, tmp_path: Path) -> None:
    real = write(tmp_path, "elsewhere", rows_of("elsewhere"))
    (output / "elsewhere").symlink_to(real)
    linked = write(output, "linked", [])
    (linked / "events.jsonl").unlink()
    (linked / "events.jsonl").symlink_to(real / "events.jsonl")
    pipe = write(output, "pipe", [])
    (pipe / "events.jsonl").unlink()
    os.mkfifo(pipe / "events.jsonl")
    write(output, ".hidden", rows_of(".hidden"))
    (output / "file").write_text("")
    assert Importer(store, output).scan() == 0
    assert store.runs().items == ()


def test_no_folder_is_no_runs(store: Store, tmp_path: Path) -> None:
    assert Importer(store, tmp_path / "nothing").scan() == 0


def test_a_folder_that_cannot_be_read_is_said(store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    assert Importer(store, tmp_path / "file").scan() == 0
    assert "cannot be imported" in caplog.text


@pytest.mark.parametrize("is_last", [True, False])
def test_a_hole_of_a_terabyte_in_a_file_keeps_nobody_waiting(store: Store, output: Path, is_last: bool) -> None:
    hostile = write(output, "hole", rows_of("hole")[:3]) / "events.jsonl"
    if not is_last:
        hostile.write_text("")
    os.truncate(hostile, 1 << 40)
    if not is_last:
        with hostile.open("ab") as file:
            file.write(b"\n" + json.dumps(rows_of("hole")[0]).encode() + b"\n")
    rows = rows_of("other")
    write(output, "other", rows)
    assert Importer(store, output).scan() == len(rows)
    with pytest.raises(NotFound):
        store.run("hole")
