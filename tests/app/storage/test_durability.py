"""Killed in the middle, or two at once: no event is lost, none counts twice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from app.storage.store import Store
from app.storage.values import RunSource
from tests.app.storage.test_projection import assert_equals_read_series
from tests.recorded_events import recorded_run

SENDER = """
import sys
from app.storage.store import Store
from app.storage.values import RunSource
from tests.recorded_events import recorded_run
url, objects, run, clients, rounds, size = *sys.argv[1:4], *map(int, sys.argv[4:])
rows = recorded_run(run, num_clients=clients, num_rounds=rounds, rejected=0.1, late=0.1)
store = Store.open(url, objects)
print("ready", flush=True)
for start in range(0, len(rows), size):
    store.ingest(run, rows[start : start + size], RunSource())
    print(start + size, flush=True)
store.close()
"""


def sender(url: str, tmp_path: Path, run: str, clients: int, rounds: int, size: int) -> subprocess.Popen[str]:
    arguments = [url, str(tmp_path / "objects"), run, str(clients), str(rounds), str(size)]
    return subprocess.Popen([sys.executable, "-c", SENDER, *arguments], stdout=subprocess.PIPE, text=True)


def test_kill_9_in_the_middle_of_ingest_loses_and_doubles_nothing(url: str, tmp_path: Path) -> None:
    rows = recorded_run("r1", num_clients=20, num_rounds=12, rejected=0.1, late=0.1)
    process = sender(url, tmp_path, "r1", 20, 12, 50)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    told = [int(process.stdout.readline()) for _ in range(3)]
    process.kill()  # somewhere in the fourth batch or later
    told += [int(line) for line in process.communicate()[0].splitlines()]
    with Store.open(url, str(tmp_path / "objects")) as store:
        last_seq = store.run("r1").last_seq
        assert last_seq % 50 == 0 or last_seq == len(rows)  # batches are whole
        assert last_seq >= min(told[-1], len(rows))  # what was acknowledged is there
        assert len(store.events(run="r1", limit=1000)) == min(1000, last_seq)
        assert_equals_read_series(store, rows[:last_seq])
        store.ingest("r1", rows[max(0, last_seq - 20) : last_seq + 900], RunSource())
        assert_equals_read_series(store, rows[: last_seq + 900])


def test_two_processes_write_at_once(url: str, tmp_path: Path) -> None:
    Store.open(url, str(tmp_path / "objects")).close()
    processes = [sender(url, tmp_path, run, 6, 6, 7) for run in ("r1", "r2")]
    for process in processes:
        process.communicate()
    assert [process.returncode for process in processes] == [0, 0]
    with Store.open(url, str(tmp_path / "objects")) as store:
        for run in ("r1", "r2"):
            rows = recorded_run(run, num_clients=6, num_rounds=6, rejected=0.1, late=0.1)
            assert [event.seq for event in store.events(run=run, limit=1000)] == list(range(1, len(rows) + 1))
            assert_equals_read_series(store, rows)


def test_two_processes_send_the_same_run_and_each_event_counts_once(url: str, tmp_path: Path) -> None:
    Store.open(url, str(tmp_path / "objects")).close()
    processes = [sender(url, tmp_path, "r1", 6, 6, size) for size in (5, 11)]
    for process in processes:
        process.communicate()
    assert [process.returncode for process in processes] == [0, 0]
    rows = recorded_run("r1", num_clients=6, num_rounds=6, rejected=0.1, late=0.1)
    with Store.open(url, str(tmp_path / "objects")) as store:
        assert [event.seq for event in store.events(run="r1", limit=1000)] == list(range(1, len(rows) + 1))
        assert_equals_read_series(store, rows)


def test_a_reader_that_goes_on_from_the_last_id_misses_nothing(url: str, tmp_path: Path) -> None:
    with Store.open(url, str(tmp_path / "objects")) as store:
        processes = [sender(url, tmp_path, run, 5, 5, 3) for run in ("r1", "r2")]
        seen: list[tuple[str, int]] = []
        after = 0
        while any(process.poll() is None for process in processes):
            found = store.events(after=after)
            seen += [(event.run, event.seq) for event in found]
            after = found[-1].id if found else after
        for process in processes:
            process.communicate()
        while found := store.events(after=after):
            seen += [(event.run, event.seq) for event in found]
            after = found[-1].id
        for run in ("r1", "r2"):
            last_seq = store.run(run).last_seq
            assert [seq for name, seq in seen if name == run] == list(range(1, last_seq + 1))
