import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.sinks import JsonlSink, last_seq, read_events
from shared.errors import UsageError
from shared.events import Envelope, Event, EventLog, ModelEvaluated, RunWaiting


def envelope(seq: int, event: Event | None = None) -> Envelope:
    return Envelope(seq=seq, ts=1000.5, run="r1", event=event or RunWaiting(reason=f"event {seq}"))


def written(path: Path, *seqs: int) -> Path:
    sink = JsonlSink(path)
    for seq in seqs:
        sink.write(envelope(seq))
    sink.close()
    return path


def seqs_of(path: Path) -> list[object]:
    return [row["seq"] for row in read_events(path)]


def test_an_event_is_one_flat_line_of_json(tmp_path: Path) -> None:
    path = written(tmp_path / "events.jsonl", 1)
    expected = {"seq": 1, "ts": 1000.5, "run": "r1", "type": "run-waiting", "reason": "event 1"}
    assert [json.loads(line) for line in path.read_text().splitlines()] == [expected]
    assert list(read_events(path)) == [expected]


def test_each_event_is_on_disk_before_the_next_is_written(tmp_path: Path) -> None:
    sink = JsonlSink(tmp_path / "events.jsonl")
    for seq in (1, 2, 3):
        sink.write(envelope(seq))
        assert last_seq(sink.path) == seq
    sink.close()


def test_a_killed_process_loses_no_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    program = (
        "import os, signal, sys; from pathlib import Path; from monitor.sinks import JsonlSink;"
        "from shared.events import Envelope, RunWaiting; sink = JsonlSink(Path(sys.argv[1]));"
        "[sink.write(Envelope(seq=i, ts=0.0, run='r', event=RunWaiting(reason='x'))) for i in range(1, 51)];"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", program, str(path)], cwd=root, check=False)
    assert seqs_of(path) == list(range(1, 51))


def test_a_resumed_run_appends_and_goes_on_counting(tmp_path: Path) -> None:
    path = written(tmp_path / "events.jsonl", 1, 2)
    sink = JsonlSink(path)
    log = EventLog("r1", [sink], now=lambda: 2.0, first_seq=last_seq(path) + 1)
    log.emit(RunWaiting(reason="again"))
    log.close()
    assert seqs_of(path) == [1, 2, 3]


def test_a_torn_last_line_is_dropped_on_reopening(tmp_path: Path) -> None:
    path = written(tmp_path / "events.jsonl", 1, 2)
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"seq":3,"ts":1.0,"ru')
    assert last_seq(path) == 2
    assert seqs_of(path) == [1, 2]
    JsonlSink(path).close()
    assert path.read_bytes() == whole


@given(cut=st.integers(min_value=0))
def test_a_file_cut_anywhere_keeps_every_whole_event_and_goes_on(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    path = written(tmp_path_factory.mktemp("cut") / "events.jsonl", 1, 2, 3)
    whole = path.read_bytes()
    kept = whole[: cut % (len(whole) + 1)]
    path.write_bytes(kept)
    survivors = last_seq(path)
    # By hand: an event survives when its closing brace does; its line break is put back.
    assert survivors == kept.count(b"}")
    written(path, *range(survivors + 1, 5))
    assert seqs_of(path) == [1, 2, 3, 4]


def test_a_long_torn_line_is_found_across_reading_chunks(tmp_path: Path) -> None:
    path = written(tmp_path / "events.jsonl", 1)
    with path.open("ab") as file:
        file.write(b'{"seq":2,"reason":"' + b"x" * 300_000)
    assert last_seq(path) == 1
    written(path, 2)
    assert seqs_of(path) == [1, 2]


def test_lines_that_are_not_json_objects_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"seq":1}\n\xff\xfe\n[1]\n' + b"[" * 200_000 + b'\n\n{"seq":2}\nnull\n')
    assert seqs_of(path) == [1, 2]
    assert last_seq(path) == 2


def test_a_missing_or_empty_file_starts_the_count(tmp_path: Path) -> None:
    assert last_seq(tmp_path / "none.jsonl") == 0
    (tmp_path / "empty.jsonl").touch()
    assert last_seq(tmp_path / "empty.jsonl") == 0
    assert seqs_of(tmp_path / "empty.jsonl") == []


def test_hostile_text_stays_on_its_line_and_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    hostile = 'x\n{"seq":99}\r\u2028\x00\x1b[2J\ud800</script>é'
    sink = JsonlSink(path)
    sink.write(envelope(1, RunWaiting(reason=hostile)))
    sink.close()
    assert [row["reason"] for row in read_events(path)] == [hostile]
    assert len(path.read_bytes().splitlines()) == 1


def test_numbers_that_json_cannot_hold_become_null(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    sink = JsonlSink(path)
    sink.write(
        envelope(1, ModelEvaluated(server_round=1, metrics={"loss": float("nan"), "accuracy": 0.5}, seconds=0.1))
    )
    sink.close()
    assert [row["metrics"] for row in read_events(path)] == [{"loss": None, "accuracy": 0.5}]


class Disk:
    """Stands in for ``os.pwrite``: writes until it is full, a part of the last line included, as a real disk does."""

    def __init__(self, free: int) -> None:
        self.free = free
        self._pwrite = os.pwrite

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        if self.free <= 0:
            raise OSError(28, "No space left on device")
        done = self._pwrite(fd, data[: self.free], offset)
        self.free -= done
        return done


def test_a_full_disk_is_warned_about_once_and_leaves_no_torn_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    disk = Disk(free=100)  # the first line has 69 bytes
    monkeypatch.setattr(os, "pwrite", disk.pwrite)
    sink = JsonlSink(tmp_path / "events.jsonl")
    with caplog.at_level(logging.WARNING):
        for seq in (1, 2, 3):
            sink.write(envelope(seq))
        assert len(caplog.records) == 1
        disk.free = 10_000  # somebody made room
        sink.write(envelope(4))
        sink.close()
    assert sink.num_missing == 2
    assert "2 events are missing" in caplog.messages[-1]
    assert seqs_of(sink.path) == [1, 4]
    assert sink.path.read_bytes().count(b"\n") == 2


def test_a_metric_json_cannot_hold_costs_one_event_and_not_the_run(tmp_path: Path) -> None:
    sink = JsonlSink(tmp_path / "events.jsonl")
    sink.write(envelope(1, ModelEvaluated(server_round=1, metrics={"loss": object()}, seconds=0.0)))  # type: ignore[dict-item]
    sink.write(envelope(2))
    sink.close()
    assert sink.num_missing == 1
    assert seqs_of(sink.path) == [2]


def test_writing_and_closing_after_the_end_do_nothing(tmp_path: Path) -> None:
    sink = JsonlSink(tmp_path / "events.jsonl")
    sink.close()
    sink.write(envelope(1))
    sink.close()
    assert seqs_of(sink.path) == []


def test_a_file_that_cannot_be_opened_is_a_usage_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot be opened.*--output"):
        JsonlSink(tmp_path / "no" / "events.jsonl")
