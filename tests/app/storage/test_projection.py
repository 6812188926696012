"""What the store makes of events equals what ``monitor.series.read_series`` makes of them, however they were sent."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from app.storage.store import Store
from app.storage.tables import METADATA
from app.storage.values import RunSource
from monitor.series import read_series
from monitor.tally import Spread as TallySpread
from tests.recorded_events import recorded_run

Rows = Sequence[dict[str, Any]]


def send(store: Store, rows: Rows, size: int = 500) -> None:
    for start in range(0, len(rows), size):
        store.ingest(rows[0]["run"], rows[start : start + size], RunSource())


def tables_of(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table; what counts calls (numbers of models) left out."""
    found = {}
    with store._database.read() as connection:
        for table in METADATA.sorted_tables:
            columns = [column for column in table.columns if not (table.name == "models" and column.name == "id")]
            rows = connection.execute(table.select().with_only_columns(*columns)).all()
            found[table.name] = sorted((tuple(row) for row in rows), key=repr)
    return found


def assert_equals_read_series(store: Store, rows: Rows) -> None:
    run_id = rows[0]["run"]
    wanted = read_series(rows)
    summary = wanted.summary
    run = store.run(run_id)
    assert (run.rounds_completed, run.best_round) == (summary.rounds_completed, summary.best_round)
    assert (run.loss, run.accuracy, run.best_accuracy) == (summary.loss, summary.accuracy, summary.best_accuracy)
    assert (run.updates_accepted, run.updates_rejected, run.updates_late) == (
        summary.updates_accepted,
        summary.updates_rejected,
        summary.updates_late,
    )
    assert run.rejections == dict(summary.rejections)
    assert run.bytes_received == summary.num_bytes
    assert run.seconds == pytest.approx(summary.seconds_total)
    assert run.error == summary.error
    if summary.state != "unfinished":
        assert run.state == summary.state
    assert (run.num_clients, run.num_parameters, run.started_ts) == (
        wanted.num_clients,
        wanted.num_parameters,
        wanted.started_ts,
    )
    snapshot = store.snapshot(run_id, max_points=5000)
    assert_rounds(snapshot.rounds, wanted.rounds)
    assert_clients({view.client: view for view in store.clients(run_id, limit=1000).items}, wanted.clients)
    refusals = store.updates(run_id, state="rejected", limit=1000).items
    told = [(item.server_round, item.phase, item.client, item.reason, item.detail) for item in reversed(refusals)]
    told.sort(key=lambda line: line[0])  # as the report has them
    assert told == [(item.server_round, item.phase, item.client, item.reason, item.detail) for item in wanted.refusals]


def assert_rounds(found: Any, wanted: Any) -> None:
    same = (
        "server_round", "attempt", "loss", "accuracy", "train_loss", "accepted", "rejected", "late", "capped",
        "evaluations_accepted", "evaluations_rejected", "evaluations_late", "kept_old_model", "model_digest", "seconds",
        "collect_seconds", "aggregate_seconds", "evaluate_seconds", "checkpoint_seconds",
    )  # fmt: skip
    assert [[getattr(view, name) for name in same] for view in found] == [
        [getattr(row, name) for name in same] for row in wanted
    ]
    for view, row in zip(found, wanted, strict=True):
        assert (view.state == "closed") == (row.is_closed or row.server_round == 0)
        assert_spread(view.client_loss, row.client_loss)
        assert_spread(view.client_accuracy, row.client_accuracy)


def assert_spread(found: Any, wanted: TallySpread | None) -> None:
    assert (found is None) == (wanted is None)
    if found is not None and wanted is not None:
        for name in ("mean", "deviation", "minimum", "maximum", "p10", "p90"):
            value = getattr(wanted, name)
            assert getattr(found, name) == (value if value is None else pytest.approx(value)), name


def is_only_capped(row: Any) -> bool:
    """Whose accepted update was of an attempt that was abandoned since, or none: no run caps such a one."""
    return row.capped > 0 and not any((row.asked, row.accepted, row.rejected, row.late, row.num_bytes, row.histogram))


def assert_clients(found: dict[str, Any], wanted: Any) -> None:
    counted = [row for row in wanted if row.client in found or not is_only_capped(row)]
    for row in counted:
        view = found.pop(row.client)
        assert (view.asked, view.accepted, view.rejected, view.late) == (
            row.asked,
            row.accepted,
            row.rejected,
            row.late,
        )
        assert (view.num_examples, view.histogram) == (row.num_examples, row.histogram)
        assert (view.loss, view.accuracy, view.bytes_received) == (row.loss, row.accuracy, row.num_bytes)
        assert view.mean_seconds == (row.mean_seconds if row.mean_seconds is None else pytest.approx(row.mean_seconds))
    for view in found.values():  # asked to evaluate only
        assert (view.asked, view.accepted, view.rejected, view.late, view.bytes_received) == (0, 0, 0, 0, 0)


@pytest.mark.parametrize("central", [True, False])
@pytest.mark.parametrize("num_clients", [1, 5, 23])
def test_a_recorded_run_counts_as_the_report_counts_it(store: Store, central: bool, num_clients: int) -> None:
    rows = recorded_run(
        "r1", num_clients=num_clients, num_rounds=4, central=central, rejected=0.15, late=0.1, seed=num_clients
    )
    send(store, rows, 17)
    assert_equals_read_series(store, rows)


def test_every_prefix_of_a_run_counts_as_the_report_counts_it(new_store: Callable[[], Store]) -> None:
    store = new_store()
    rows = recorded_run("r1", num_clients=3, num_rounds=3, rejected=0.2, late=0.1, seed=5)
    for count in range(1, len(rows) + 1):
        store.ingest("r1", rows[count - 1 : count], RunSource())
        assert_equals_read_series(store, rows[:count])


def restarted(rows: Rows, seed: int, starts: int = 2) -> list[dict[str, Any]]:
    """A run that is killed somewhere and goes on from an earlier round, with its rounds' next attempts."""
    rng = random.Random(seed)
    told: list[dict[str, Any]] = [dict(row) for row in rows[: rng.randrange(3, len(rows))]]
    for start in range(2, starts + 2):
        closed = [row["server-round"] for row in told if row["type"] == "round-closed"] or [0]
        first = rng.choice(closed[-3:]) + 1
        told.append({**rows[0], "first-round": first})
        rest = [row for row in rows if row.get("server-round", 0) >= first or row["type"] == "run-ended"]
        again = [{**row, "attempt": start} if row["type"] == "round-started" else dict(row) for row in rest]
        told += again[: rng.randrange(1, len(again) + 1)]
    return [{**row, "seq": seq, "ts": 1e9 + seq} for seq, row in enumerate(told, 1)]


@pytest.mark.parametrize("seed", range(8))
def test_a_later_attempt_replaces_the_abandoned_one(new_store: Callable[[], Store], seed: int) -> None:
    rows = restarted(
        recorded_run("r1", num_clients=4, num_rounds=5, rejected=0.2, late=0.1, seed=seed, central=seed % 2 == 0), seed
    )
    store = new_store()
    send(store, rows, 1 + seed * 7)
    assert_equals_read_series(store, rows)


PIECES = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 10), st.integers(1, 3)), max_size=12)


@given(seed=st.integers(0, 50), is_restarted=st.booleans(), pieces=PIECES)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_split_of_the_events_with_repeats_gives_the_same_tables(
    new_store: Callable[[], Store], seed: int, is_restarted: bool, pieces: list[tuple[int, int, int]]
) -> None:
    rows = recorded_run("r1", num_clients=3, num_rounds=3, rejected=0.2, late=0.1, seed=seed)
    if is_restarted:
        rows = restarted(rows, seed)
    whole, split = new_store(), new_store()
    whole.ingest("r1", rows, RunSource())
    done = 0
    for size, overlap, times in [*pieces, (len(rows), 0, 1)]:
        part = rows[max(0, done - overlap) : done + size]
        split.ingest("r1", [row for row in part for _ in range(times)], RunSource())
        done += size
    assert tables_of(whole) == tables_of(split)


ROUND = st.integers(0, 3)
WHO = st.sampled_from(["a", "b", "node-1", "node-2", ""])
NAMED = st.sampled_from(["a", "b", ""])  # a reply is only accepted once its client is known
PHASE = st.sampled_from(["train", "evaluate", "setup"])
FEW = st.integers(0, 9)
SECONDS = st.sampled_from([0.0, 0.5, 2.0])
METRICS = st.sampled_from([{}, {"loss": 0.5}, {"loss": 0.25, "accuracy": 0.75}, {"accuracy": 0.125}, {"f1": None}])


def event(kind: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    named = {key.replace("_", "-"): value for key, value in fields.items()}
    return st.fixed_dictionaries({"type": st.just(kind), **named})


EVENTS = st.one_of(
    event("run-started", config=st.just({"num-rounds": 3}), first_round=st.integers(1, 3), clients=st.just(["a"])),
    event("round-started", server_round=st.integers(1, 3), attempt=st.integers(1, 3)),
    event("phase-started", server_round=ROUND, phase=PHASE, clients=st.lists(WHO.filter(bool), max_size=4)),
    event("update-received", server_round=ROUND, phase=PHASE, client=WHO, seconds=SECONDS, num_bytes=st.integers(0, 9)),
    event("client-identified", server_round=ROUND, client=st.sampled_from("ab"), node_id=st.sampled_from("12")),
    event(
        "update-accepted", server_round=ROUND, phase=PHASE, client=NAMED, num_examples=FEW, metrics=METRICS
    ),
    event(
        "update-rejected", server_round=ROUND, phase=PHASE, client=WHO, reason=st.sampled_from(["norm", "replay"]),
        detail=st.just("why"),
    ),
    event("update-late", server_round=ROUND, phase=PHASE, client=WHO, seconds=SECONDS),
    event("update-capped", server_round=ROUND, client=NAMED),
    event(
        "phase-ended", server_round=ROUND, phase=PHASE, collect_seconds=SECONDS, aggregate_seconds=SECONDS,
        kept_old_model=st.booleans(), metrics=METRICS,
    ),
    event("model-evaluated", server_round=ROUND, metrics=METRICS, seconds=SECONDS),
    event("clients-evaluated", server_round=ROUND, mean=METRICS, deviation=METRICS, minimum=METRICS, maximum=METRICS),
    event("round-closed", server_round=ROUND, seconds=SECONDS, checkpoint_seconds=SECONDS, model_digest=st.just("d")),
    event("run-ended", state=st.sampled_from(["completed", "failed"]), seconds=SECONDS, error=st.just("e")),
    event("run-paused"),
    event("run-waiting", reason=st.just("waiting for clients 1/2")),
    event("of-another-version", anything=st.just([1, {"x": None}])),
)  # fmt: skip


@given(events=st.lists(EVENTS, min_size=1, max_size=40), size=st.integers(1, 40))
@settings(
    max_examples=30,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # to shrink is to fill hundreds of databases
)
def test_events_in_any_order_count_as_the_report_counts_them(
    new_store: Callable[[], Store], events: list[dict[str, Any]], size: int
) -> None:
    start = {"type": "run-started", "config": {}, "first-round": 1, "clients": ["a"], "num-clients": 2}
    rows = [{"seq": seq, "ts": 1e9 + seq, "run": "r1", **row} for seq, row in enumerate([start, *events], 1)]
    whole, split = new_store(), new_store()
    whole.ingest("r1", rows, RunSource())
    send(split, rows, size)
    assert_equals_read_series(split, rows)
    assert tables_of(whole) == tables_of(split)
