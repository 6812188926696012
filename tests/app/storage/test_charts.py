"""Lines of charts: what is drawn, how it is thinned, and runs beside each other."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.storage.natural import sort_key
from app.storage.scoring import MAX_SPARK, add_to_spark, spark_points
from app.storage.store import Store
from app.storage.thinning import kept_indices
from app.storage.values import RunSource
from monitor.metrics_csv import metrics_csv
from monitor.series import read_series
from tests.recorded_events import recorded_run


def fill(store: Store, run: str = "r1", **settings: object) -> list[dict[str, object]]:
    rows = recorded_run(run, **settings)  # type: ignore[arg-type]
    for start in range(0, len(rows), 900):
        store.ingest(run, rows[start : start + 900], RunSource())
    return rows


def test_the_global_lines_are_the_rounds(store: Store) -> None:
    rows = fill(store, num_clients=3, num_rounds=4)
    lines = {line.name: line.points for line in store.metrics("r1", clients=None).series}
    evaluated: list[Any] = [row for row in rows if row["type"] == "model-evaluated"]
    told = [(float(row["server-round"]), row["metrics"]["accuracy"]) for row in evaluated]
    assert lines["accuracy"] == tuple(told)
    assert [x for x, _ in lines["client_accuracy"]] == [1.0, 2.0, 3.0, 4.0]
    assert set(lines) == {"accuracy", "loss", "client_accuracy", "client_loss", "train_loss"}


def test_few_clients_have_lines_of_their_own_and_many_a_band(store: Store) -> None:
    fill(store, "few", num_clients=3, num_rounds=2, rejected=0.0, late=0.0)
    fill(store, "many", num_clients=13, num_rounds=2, rejected=0.0, late=0.0)
    few, many = (store.metrics(run, names=["accuracy"]) for run in ("few", "many"))
    assert [line.client for line in few.series] == ["", "client-0", "client-1", "client-2"]
    assert few.bands == ()
    assert [line.client for line in many.series] == [""]
    assert [(band.name, len(band.points)) for band in many.bands] == [("accuracy", 2)]
    chosen = store.metrics("many", names=["accuracy"], clients=["client-7"])
    assert [line.client for line in chosen.series] == ["", "client-7"]


def test_a_band_is_the_tenths_and_the_median_of_the_clients(store: Store) -> None:
    # Accuracies 0.0, 0.1 ... 1.0 of 11 clients: their 10th percentile is 0.1, the median 0.5, the 90th 0.9.
    where = {"run": "r1", "server-round": 1, "ts": 1e9}
    rows: list[Any] = [{"seq": 1, "type": "round-started", "attempt": 1, **where}]
    reply = {"type": "update-accepted", "phase": "evaluate", "num-examples": 1, **where}
    for index in range(11):
        rows.append({**reply, "seq": 2 + index, "client": f"c{index}", "metrics": {"accuracy": index / 10}})
    store.ingest("r1", rows, RunSource())
    assert store.round("r1", 1).client_accuracy is not None  # so far, while the clients still evaluate
    store.ingest("r1", [{"seq": 13, "type": "round-closed", "seconds": 1.0, "model-digest": "d", **where}], RunSource())
    ((x, p10, median, p90),) = store.metrics("r1", names=["accuracy"]).bands[0].points
    assert (x, p10, median, p90) == (1.0, pytest.approx(0.1), pytest.approx(0.5), pytest.approx(0.9))


def test_any_measure_can_be_drawn_by_its_name(store: Store) -> None:
    where = {"run": "r1", "server-round": 1, "ts": 1e9}
    rows = [
        {"seq": 1, "type": "round-started", "attempt": 1, **where},
        {
            "seq": 2, "type": "update-accepted", "phase": "train", "client": "a", "num-examples": 9, "norm": 2.5,
            "metrics": {"f1": 0.25}, **where,
        },
        {"seq": 3, "type": "phase-ended", "phase": "train", "metrics": {"f1": 0.5}, **where},
        {"seq": 4, "type": "model-evaluated", "metrics": {"f1": 0.75}, **where},
    ]  # fmt: skip
    store.ingest("r1", rows, RunSource())
    found = store.metrics("r1", names=["f1", "train/f1", "norm", "nothing"])
    assert [(line.name, line.client, line.points) for line in found.series] == [
        ("f1", "", ((1.0, 0.75),)),
        ("train/f1", "", ((1.0, 0.5),)),
        ("f1", "a", ((1.0, 0.25),)),
        ("train/f1", "a", ((1.0, 0.25),)),
        ("norm", "a", ((1.0, 2.5),)),
    ]


def test_a_long_run_is_thinned_and_keeps_its_ends(store: Store) -> None:
    fill(store, num_clients=1, num_rounds=60)
    snapshot = store.snapshot("r1", max_points=10)
    numbers = [view.server_round for view in snapshot.rounds]
    assert len(numbers) <= 10
    assert (numbers[0], numbers[-1], snapshot.num_rounds_known) == (0, 60, 61)
    for line in store.metrics("r1", max_points=10).series:
        assert len(line.points) <= 10
        assert line.points[-1][0] == 60.0


@given(values=st.lists(st.none() | st.floats(allow_nan=False), max_size=200), most=st.integers(4, 50))
def test_thinning_keeps_first_last_and_both_extremes(values: list[float | None], most: int) -> None:
    kept = kept_indices(values, most)
    assert kept == sorted(set(kept))
    assert len(kept) <= max(most, 0)
    known = [(value, index) for index, value in enumerate(values) if value is not None]
    if len(values) <= most:
        assert kept == list(range(len(values)))
        return
    assert {kept[0], kept[-1]} == {0, len(values) - 1}
    found = {values[index] for index in kept}
    if known:
        assert {min(known)[0], max(known)[0]} <= found


def test_runs_are_compared_over_rounds_time_and_bytes(store: Store) -> None:
    fill(store, "r1", num_clients=2, num_rounds=2, rejected=0.0, late=0.0)
    fill(store, "r2", num_clients=2, num_rounds=3, rejected=0.0, late=0.0)
    by_round = store.compare(["r2", "r1"], "round")
    assert [run.run_id for run in by_round.runs] == ["r2", "r1"]
    assert [(key.key, key.values) for key in by_round.changed] == [("num-rounds", (3, 2))]
    assert [line.name for line in by_round.accuracy] == ["r2", "r1"]
    assert [x for x, _ in by_round.accuracy[1].points] == [0.0, 1.0, 2.0]
    assert [x for x, _ in store.compare(["r1"], "time").loss[0].points] == [0.0, 2.5, 5.0]  # 2.5 s a round
    # A round is two updates of 250,000 bytes and two evaluations of 120.
    assert [x for x, _ in store.compare(["r1"], "bytes").loss[0].points] == [0.0, 500_240.0, 1_000_480.0]


def test_compared_settings_differ_by_type_too_and_may_be_missing(store: Store) -> None:
    store.create_run("r1", {"a": 1, "b": True, "c": "x"})
    store.create_run("r2", {"a": 1, "b": 1, "d": 2})
    changed = store.compare(["r1", "r2"], "round").changed
    assert [(key.key, key.values) for key in changed] == [("b", (True, 1)), ("c", ("x", None)), ("d", (None, 2))]


def test_an_export_is_the_runs_own_csv(store: Store) -> None:
    rows = fill(store, num_clients=12, num_rounds=3, rejected=0.1, late=0.1)
    table = metrics_csv(store.round_rows("r1"))
    assert table == metrics_csv(read_series(rows).rounds)  # type: ignore[arg-type]
    assert len(list(csv.reader(io.StringIO(table)))) == 4


@given(st.integers(0, 2000))
def test_a_small_chart_has_few_points_and_ends_with_the_last(count: int) -> None:
    text = "{}"
    for value in range(count):
        text = add_to_spark(text, float(value))
    points = spark_points(text)
    assert len(points) <= MAX_SPARK
    assert points[:1] == ((0.0,) if count else ())
    assert points[-1:] == ((count - 1.0,) if count else ())
    assert list(points) == sorted(points)


def test_names_are_counted_as_people_count() -> None:
    names = ["client-10", "client-2", "b", "client-1", "client-02", "a"]
    assert sorted(names, key=lambda name: (sort_key(name), name)) == [
        "a", "b", "client-1", "client-02", "client-2", "client-10",
    ]  # fmt: skip
