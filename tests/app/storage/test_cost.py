"""What it costs: a batch is as dear at the end of a long run as at its start, and a long run opens quickly.

Statements are counted, and CPU time is compared with CPU time of the same process: a busy machine fails nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

from sqlalchemy import event

from app.storage.store import Store
from app.storage.values import RunSource
from tests.recorded_events import recorded_run


def test_a_batch_costs_the_same_at_the_end_of_a_long_run(new_store: Callable[[], Store]) -> None:
    store = new_store()
    rows = recorded_run("r1", num_clients=40, num_rounds=200)
    costs = []
    for start in range(0, len(rows), 500):
        begin = time.process_time()
        store.ingest("r1", rows[start : start + 500], RunSource())
        costs.append(time.process_time() - begin)
    tenth = len(costs) // 10
    # Were it proportional to the run, the last tenth would cost about ten times as much as the second.
    assert median(costs[-tenth - 1 : -1]) < 2.5 * median(costs[tenth : 2 * tenth])


def statements_of(store: Store, act: Callable[[], object]) -> int:
    told: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        told.append(statement)

    event.listen(store._database.engine, "before_cursor_execute", note)
    act()
    event.remove(store._database.engine, "before_cursor_execute", note)
    return len(told)


def test_a_batch_is_a_fixed_number_of_statements_however_many_rows_it_has(new_store: Callable[[], Store]) -> None:
    counts = []
    for num_clients in (5, 80):
        store = new_store()
        rows = recorded_run("r1", num_clients=num_clients, num_rounds=1, rejected=0.4, late=0.2)
        counts.append(statements_of(store, lambda store=store, rows=rows: store.ingest("r1", rows, RunSource())))
    assert counts[0] == counts[1]


def test_a_list_of_runs_is_one_question(new_store: Callable[[], Store]) -> None:
    store = new_store()
    for index in range(30):
        store.ingest(f"r{index}", recorded_run(f"r{index}", num_clients=1, num_rounds=1), RunSource())
    few = statements_of(store, lambda: store.runs(limit=2))
    assert statements_of(store, lambda: store.runs(limit=30)) == few == 2  # BEGIN and SELECT


def test_a_snapshot_does_not_read_every_update(new_store: Callable[[], Store]) -> None:
    store = new_store()
    costs = []
    for run, num_clients in (("r1", 5), ("r2", 50)):  # ten times as many updates in as many rounds
        rows = recorded_run(run, num_clients=num_clients, num_rounds=60)
        for start in range(0, len(rows), 1000):
            store.ingest(run, rows[start : start + 1000], RunSource())
        times = []
        for _ in range(5):
            begin = time.process_time()
            store.snapshot(run)
            times.append(time.process_time() - begin)
        costs.append(min(times))
    assert costs[1] < 4 * costs[0]
