from __future__ import annotations

import logging
import threading

import pytest

from monitor.background import InBackground
from shared.events import Envelope, Event, MemorySink, RunPaused, RunWaiting


def envelope(seq: int, event: Event | None = None) -> Envelope:
    return Envelope(seq=seq, ts=1.0, run="r", event=event or RunWaiting(reason="x"))


def sink_of(inner: object, **options: float) -> InBackground:
    return InBackground("slow", lambda: inner, wanted=lambda e: isinstance(e, RunWaiting), **options)  # type: ignore


class Gate(MemorySink):
    """A sink that takes its first event only when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.open = threading.Event()
        self.entered = threading.Event()

    def write(self, envelope: Envelope) -> None:
        self.entered.set()
        self.open.wait()
        super().write(envelope)


def test_wanted_events_arrive_in_order_and_all_of_them_before_the_end() -> None:
    inner = MemorySink()
    sink = sink_of(inner)
    for seq in range(1, 500):
        sink.write(envelope(seq, RunPaused() if seq % 2 else None))
    sink.close()
    assert [one.seq for one in inner.envelopes] == list(range(2, 500, 2))


def test_without_an_event_nothing_is_made() -> None:
    made: list[int] = []
    sink = InBackground("slow", lambda: made.append(1) or MemorySink(), wanted=lambda _: True)
    sink.close()
    sink.write(envelope(1))
    sink.close()
    assert len(made) <= 1


def test_a_sink_that_is_too_slow_loses_events_and_says_how_many(caplog: pytest.LogCaptureFixture) -> None:
    inner = Gate()
    sink = sink_of(inner, max_waiting=5)
    sink.write(envelope(1))
    inner.entered.wait()
    for seq in range(2, 12):
        sink.write(envelope(seq))
    inner.open.set()
    sink.close()
    assert [one.seq for one in inner.envelopes] == [1, 2, 3, 4, 5, 6]
    assert "5 events are missing" in caplog.text


def test_a_sink_that_hangs_does_not_keep_the_run_from_ending(caplog: pytest.LogCaptureFixture) -> None:
    inner = Gate()
    sink = sink_of(inner, drain_s=0.01)
    sink.write(envelope(1))
    sink.close()
    assert "the run ends without it" in caplog.text
    inner.open.set()


def test_a_sink_that_fails_is_given_up_once(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(MemorySink):
        def write(self, envelope: Envelope) -> None:
            raise OSError("disk is full")

    sink = sink_of(Failing())
    with caplog.at_level(logging.WARNING):
        for seq in range(1, 10):
            sink.write(envelope(seq))
        sink.close()
    assert [message for message in caplog.messages if "disk is full" in message] == [
        "slow gets no more events: OSError: disk is full"
    ]
