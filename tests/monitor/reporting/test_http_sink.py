from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.reporting import delivery
from monitor.reporting.connection import Connection
from monitor.reporting.destination import fixed_token, parse_destination
from monitor.reporting.http_sink import HttpSink, window_s
from monitor.sinks import JsonlSink, last_seq
from shared.events import EventLog, RunWaiting
from tests.monitor.reporting.dashboards import TOKEN, Dashboard, serving

RUN = "20260727-101500-abcdef"


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "FIRST_PAUSE_S", 0.002)
    monkeypatch.setattr(delivery, "MAX_PAUSE_S", 0.02)
    monkeypatch.setattr(delivery, "REFUSED_PAUSE_S", 0.02)


def connection(port: int, token: str = TOKEN) -> Connection:
    return Connection(parse_destination(f"http://127.0.0.1:{port}"), fixed_token(token))


@contextmanager
def reported(
    output: Path, port: int, *, token: str = TOKEN, drain_s: float = 20.0, timeout_s: float = 0.5
) -> Iterator[EventLog]:
    """A run's log with its file and a sink that reports to ``port``; goes on where the file ends."""
    (output / RUN).mkdir(exist_ok=True)
    path = output / RUN / "events.jsonl"
    first_seq = last_seq(path) + 1
    sink = HttpSink(
        connection(port, token),
        output=output,
        window_s=0.0,
        drain_s=drain_s,
        timeout_s=timeout_s,
        rng=random.Random(3),
    )
    log = EventLog(RUN, [JsonlSink(path), sink], time.time, first_seq)
    try:
        yield log
    finally:
        log.close()


def emit(log: EventLog, count: int, text: str = "clients 1/2") -> None:
    for number in range(count):
        log.emit(RunWaiting(reason=f"{text} {number}"))


def test_every_event_arrives_once_and_in_order_with_its_source(tmp_path: Path) -> None:
    dashboard = Dashboard()
    with serving(dashboard) as port, reported(tmp_path, port) as log:
        emit(log, 1200)
    assert dashboard.seqs() == list(range(1, 1201))
    assert dashboard.events[7]["reason"] == "clients 1/2 7"
    source = dashboard.sources[0]
    assert source["pid"] == os.getpid()
    assert source["run_dir"] == str(tmp_path / RUN)
    assert source["origin"] == "terminal"
    assert source["create_time"] < time.time()


def test_calls_share_one_connection_and_large_ones_are_compressed(tmp_path: Path) -> None:
    dashboard = Dashboard()
    with serving(dashboard) as port, reported(tmp_path, port) as log:
        for seq in range(1, 6):
            emit(log, 1)
            dashboard.wait_until(lambda it, seq=seq: it.last_seq == seq)
        assert dashboard.num_compressed == 0
        emit(log, 200)
        dashboard.wait_until(lambda it: it.last_seq == 205)
    assert dashboard.num_connections == 1
    assert dashboard.num_compressed > 0


def test_a_run_that_was_never_reported_leaves_no_thread(tmp_path: Path) -> None:
    before = threading.active_count()
    HttpSink(connection(1), output=tmp_path).close()
    assert threading.active_count() == before


def test_a_dashboard_that_comes_later_gets_what_it_missed(tmp_path: Path) -> None:
    dashboard = Dashboard()
    with serving(dashboard) as port:
        pass
    with reported(tmp_path, port) as log:
        emit(log, 700)
        with serving(dashboard, port):
            dashboard.wait_until(lambda it: it.last_seq == 700)
    assert dashboard.seqs() == list(range(1, 701))


def test_a_dashboard_that_restarts_in_mid_run_misses_nothing(tmp_path: Path) -> None:
    dashboard = Dashboard()
    with serving(dashboard) as port, reported(tmp_path, port) as log:
        emit(log, 50)
        dashboard.wait_until(lambda it: it.last_seq == 50)
    with reported(tmp_path, port) as log:
        emit(log, 50, "while it is down")
        with serving(dashboard, port):
            dashboard.wait_until(lambda it: it.last_seq == 100)
            emit(log, 50, "after")
            dashboard.wait_until(lambda it: it.last_seq == 150)
    assert dashboard.seqs() == list(range(1, 151))


def test_a_dashboard_that_was_wiped_gets_the_whole_run_again(tmp_path: Path) -> None:
    dashboard = Dashboard()
    with serving(dashboard) as port, reported(tmp_path, port) as log:
        emit(log, 300)
        dashboard.wait_until(lambda it: it.last_seq == 300)
        dashboard.faults.append("wipe")
        emit(log, 1)
        dashboard.wait_until(lambda it: it.last_seq == 301)
    assert dashboard.seqs() == list(range(1, 302))
    assert "409" in dashboard.calls or "wipe" in dashboard.calls


def test_a_resumed_run_brings_what_its_first_start_could_not_send(tmp_path: Path) -> None:
    dashboard = Dashboard()
    with serving(dashboard) as port:
        pass
    with reported(tmp_path, port, drain_s=0.5) as log:
        emit(log, 40)
    with serving(dashboard, port), reported(tmp_path, port) as log:
        emit(log, 2)
    assert dashboard.seqs() == list(range(1, 43))


def test_an_event_that_could_not_be_written_is_a_hole_and_stops_nothing(tmp_path: Path) -> None:
    dashboard = Dashboard()
    with serving(dashboard) as port, reported(tmp_path, port) as log:
        emit(log, 2)
        dashboard.wait_until(lambda it: it.last_seq == 2)
        log._next_seq += 2  # as after a full disk: 3 and 4 are nowhere
        emit(log, 3)
        dashboard.wait_until(lambda it: it.last_seq == 7)
    assert dashboard.seqs() == [1, 2, 5, 6, 7]


@pytest.mark.parametrize("names_rows", [True, False])
def test_an_event_that_the_dashboard_does_not_take_keeps_no_other_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, names_rows: bool
) -> None:
    """One client must not be able to keep a whole run out of sight."""
    dashboard = Dashboard()
    dashboard.poison, dashboard.names_rows = {300, 301, 700}, names_rows
    with caplog.at_level(logging.WARNING), serving(dashboard) as port, reported(tmp_path, port) as log:
        emit(log, 1)
        dashboard.wait_until(lambda it: it.last_seq == 1)
        emit(log, 999)
    assert dashboard.seqs() == [seq for seq in range(1, 1001) if seq not in dashboard.poison]
    assert [message for message in caplog.messages if "does not take event 300" in message]


def test_a_wrong_token_is_said_once_and_fails_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    dashboard = Dashboard()
    with caplog.at_level(logging.WARNING), serving(dashboard) as port, reported(tmp_path, port, token="other") as log:
        for _ in range(5):
            calls = len(dashboard.calls)
            emit(log, 1)
            dashboard.wait_until(lambda it, calls=calls: len(it.calls) > calls)
    said = [message for message in caplog.messages if "refuses reports" in message]
    assert len(said) == 1
    assert "401" in said[0]
    assert TOKEN not in caplog.text


def test_a_server_that_hangs_delays_the_end_no_longer_than_allowed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dashboard = Dashboard()
    dashboard.faults.extend(["hang"] * 100)
    with (
        caplog.at_level(logging.WARNING),
        serving(dashboard) as port,
        reported(tmp_path, port, drain_s=0.2, timeout_s=3600.0) as log,
    ):
        emit(log, 3)
        dashboard.wait_until(lambda it: it.calls == ["hang"])
    assert "it reads the rest from the run's folder" in caplog.text
    assert dashboard.calls == ["hang"]
    assert not [thread for thread in threading.enumerate() if thread.name == "reporting"]


def test_a_dashboard_that_is_down_at_the_end_is_tried_once_more_and_not_waited_for(tmp_path: Path) -> None:
    with serving(Dashboard()) as port:
        pass
    with reported(tmp_path, port, drain_s=3600.0) as log:  # a test that hung would fail by its time limit
        emit(log, 3)


def test_closing_twice_and_writing_afterwards_do_nothing(tmp_path: Path) -> None:
    dashboard = Dashboard()
    with serving(dashboard) as port, reported(tmp_path, port) as log:
        emit(log, 2)
        log.close()
        emit(log, 1)
    assert dashboard.seqs() == [1, 2]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_a_forked_copy_of_the_process_is_silent(tmp_path: Path) -> None:
    dashboard = Dashboard()
    with serving(dashboard) as port, reported(tmp_path, port) as log:
        emit(log, 1)
        dashboard.wait_until(lambda it: it.last_seq == 1)
        sink = log._sinks[1]
        child = os.fork()
        if child == 0:
            status = 1
            try:
                log._sinks = [sink]
                emit(log, 5)
                log.close()
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        emit(log, 1)
        dashboard.wait_until(lambda it: it.last_seq == 2)
    assert dashboard.seqs() == [1, 2]
    assert dashboard.num_connections == 1


@pytest.mark.parametrize(("call_s", "expected"), [(0.001, 0.1), (0.002, 0.1), (0.004, 0.2), (0.008, 0.4), (3.0, 0.5)])
def test_calls_take_at_most_a_fiftieth_of_the_time_until_that_would_be_too_rare(call_s: float, expected: float) -> None:
    assert window_s(call_s, 0.1) == pytest.approx(expected)


FAULTS = ["", "500", "503", "429", "cut", "cut-after", "short", "close", "html", "not-http", "nonsense", "401", "wipe"]


@settings(max_examples=25)
@given(
    faults=st.lists(st.sampled_from(FAULTS), max_size=12),
    bursts=st.lists(st.sampled_from([1, 2, 30, 600]), min_size=1, max_size=5),
    restart_after=st.integers(0, 5),
    poison=st.sets(st.integers(2, 2000), max_size=12),
    names_rows=st.booleans(),
)
def test_whatever_a_server_does_it_ends_with_every_event_once_and_in_order(
    tmp_path_factory: pytest.TempPathFactory,
    faults: list[str],
    bursts: list[int],
    restart_after: int,
    poison: set[int],
    names_rows: bool,
) -> None:
    """Every event but those that the server does not take."""
    output = tmp_path_factory.mktemp("run")
    total = sum(bursts) + 1
    dashboard = Dashboard()
    dashboard.poison, dashboard.names_rows = poison - {total}, names_rows
    dashboard.faults.extend(faults)
    with serving(dashboard) as port:
        pass
    with reported(output, port) as log:
        for number, burst in enumerate(bursts):
            if number == restart_after:
                with serving(dashboard, port):
                    emit(log, burst)
                    dashboard.wait_until(lambda it: bool(it.calls))
            else:
                emit(log, burst)
        with serving(dashboard, port):
            newest = max(seq for seq in range(1, total) if seq not in dashboard.poison)
            dashboard.wait_until(lambda it: not it.faults or it.last_seq == newest)
            dashboard.faults.clear()
            emit(log, 1)
            dashboard.wait_until(lambda it: it.last_seq == total)
            log.close()
    assert dashboard.seqs() == [seq for seq in range(1, total + 1) if seq not in dashboard.poison]


def test_writing_costs_the_training_thread_next_to_nothing(tmp_path: Path) -> None:
    """Below 20 us of its own time an event, whatever the server does; the best of some tries, for a busy machine."""
    dashboard = Dashboard()
    with serving(dashboard) as port, reported(tmp_path, port) as log:
        emit(log, 1)
        sink, costs = log._sinks[1], []
        log._sinks = [sink]
        envelopes = [RunWaiting(reason="x")] * 2000
        for _ in range(5):
            before = time.thread_time()
            for event in envelopes:
                log.emit(event)
            costs.append((time.thread_time() - before) / len(envelopes))
    assert min(costs) < 20e-6
