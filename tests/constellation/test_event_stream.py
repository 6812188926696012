"""Events that another process writes arrive as the values they were, each once, and whole."""

from __future__ import annotations

from pathlib import Path

from constellation.event_stream import EventStream, envelope_of
from monitor.sinks import JsonlSink
from shared.events import EventLog, RunEnded, RunPaused, RunWaiting


def test_events_are_read_as_they_are_written_and_once(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    stream = EventStream(path)
    assert list(stream.new()) == []
    log = EventLog("r", [JsonlSink(path)], lambda: 1.5)
    log.emit(RunWaiting(reason="paused"))
    log.emit(RunPaused())
    assert [envelope.event for envelope in stream.new()] == [RunWaiting(reason="paused"), RunPaused()]
    log.emit(RunEnded(state="completed", rounds_completed=2, seconds=1.0))
    (last,) = stream.new()
    assert (last.seq, last.ts, last.run) == (3, 1.5, "r")
    assert last.event == RunEnded(state="completed", rounds_completed=2, seconds=1.0, error=None)


def test_a_line_that_is_being_written_waits(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    stream = EventStream(path)
    whole = '{"seq":1,"ts":1.0,"run":"r","type":"run-paused"}\n'
    path.write_text(whole[:20])
    assert list(stream.new()) == []
    path.write_text(whole)
    assert len(list(stream.new())) == 1


def test_what_was_there_before_is_not_told_again(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"seq":1,"ts":1.0,"run":"r","type":"run-paused"}\n')
    assert list(EventStream(path).new()) == []


def test_rows_of_another_version_are_left_out() -> None:
    good = {"seq": 1, "ts": 1, "run": "r", "type": "run-waiting", "reason": "x"}
    assert envelope_of(good) is not None
    for change in ({"type": "unknown"}, {"seq": "1"}, {"run": 3}, {"ts": None}):
        assert envelope_of({**good, **change}) is None
    assert envelope_of({key: value for key, value in good.items() if key != "reason"}) is None
