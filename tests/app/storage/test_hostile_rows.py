"""Mallory holds the token: whatever rows say, the store takes them whole or refuses them in a sentence."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.storage import checking
from app.storage.store import Store
from app.storage.values import RunSource
from shared.errors import BadEvent, BadQuery, NotFound, SeqGap
from tests.recorded_events import recorded_run

ROWS = recorded_run("r1", num_clients=3, num_rounds=2, rejected=0.3, late=0.2, seed=3)


def place_of(kind: str) -> int:
    return next(index for index, row in enumerate(ROWS) if row["type"] == kind)


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        ("run-started", "seq", 0),
        ("run-started", "seq", True),
        ("run-started", "seq", 2**60),
        ("run-started", "ts", -1.0),
        ("run-started", "ts", math.inf),
        ("run-started", "ts", "yesterday"),
        ("run-started", "type", ""),
        ("run-started", "type", 7),
        ("run-started", "type", "x" * 201),
        ("run-started", "run", "another"),
        ("run-started", "config", []),
        ("run-started", "config", {"x": [1]}),
        ("run-started", "config", {"x" * 201: 1}),
        ("run-started", "num-clients", -1),
        ("run-started", "clients", ["x" * 201]),
        ("run-started", "clients", [7]),
        ("partition-described", "histograms", {"a": [-1]}),
        ("partition-described", "histograms", {"a": [True]}),
        ("partition-described", "histograms", {"a\0": [1]}),
        ("round-started", "server-round", 0),
        ("round-started", "server-round", 10**10),
        ("round-started", "server-round", None),
        ("round-started", "attempt", 1.5),
        ("phase-started", "phase", None),
        ("phase-started", "clients", "client-1"),
        ("phase-started", "clients", ["a\0b"]),
        ("phase-started", "clients", ["\ud800"]),
        ("update-received", "client", "x" * 201),
        ("update-received", "client", None),
        ("update-received", "seconds", -0.5),
        ("update-received", "seconds", math.nan),
        ("update-received", "num-bytes", 2**63),
        ("update-received", "num-bytes", 1.0),
        ("update-accepted", "num-examples", "many"),
        ("update-accepted", "norm", math.inf),
        ("update-accepted", "norm", 10**400),
        ("update-accepted", "metrics", {"loss": math.nan}),
        ("update-accepted", "metrics", {"loss": "low"}),
        ("update-accepted", "metrics", {"loss": True}),
        ("update-accepted", "metrics", [0.5]),
        ("update-rejected", "reason", None),
        ("update-rejected", "reason", "x" * 201),
        ("update-rejected", "detail", 5),
        ("phase-ended", "kept-old-model", 1),
        ("phase-ended", "collect-seconds", 1e300),
        ("model-evaluated", "metrics", None),
        ("clients-evaluated", "mean", {"loss": []}),
        ("round-closed", "model-digest", "\0"),
        ("run-ended", "state", "exploded"),
    ],
)
def test_a_wrong_field_is_named_and_nothing_is_written(
    new_store: Callable[[], Store], kind: str, key: str, value: Any
) -> None:
    store = new_store()
    place = place_of(kind)
    rows = [*ROWS[:place], {**ROWS[place], key: value}, *ROWS[place + 1 :]]
    with pytest.raises(BadEvent) as caught:
        store.ingest("r1", rows, RunSource())
    assert caught.value.field == f"events[{place}].{key}"
    with pytest.raises(NotFound):
        store.run("r1")
    assert store.last_event_id() == 0


def test_a_bad_row_after_good_calls_leaves_what_they_wrote(store: Store) -> None:
    store.ingest("r1", ROWS[:10], RunSource())
    before = store.snapshot("r1")
    with pytest.raises(BadEvent):
        store.ingest("r1", [*ROWS[10:20], {**ROWS[20], "ts": None}], RunSource())
    assert store.snapshot("r1") == before


def test_rows_that_do_not_ascend_are_refused(new_store: Callable[[], Store]) -> None:
    with pytest.raises(BadEvent, match="ascend"):
        new_store().ingest("r1", [ROWS[1], ROWS[0]], RunSource())


def test_too_many_rows_are_refused_before_they_are_looked_at(new_store: Callable[[], Store]) -> None:
    with pytest.raises(BadEvent, match="at most 1000 rows"):
        new_store().ingest("r1", [ROWS[0]] * (checking.MAX_ROWS + 1), RunSource())


@pytest.mark.parametrize("run", ["", "x" * 201, "a\0b", "\udcff"])
def test_a_run_needs_a_fair_name(new_store: Callable[[], Store], run: str) -> None:
    with pytest.raises(BadEvent) as caught:
        new_store().ingest(run, [], RunSource())
    assert caught.value.field == "run"


def test_a_gap_before_the_first_row_is_refused_with_what_is_known(store: Store) -> None:
    store.ingest("r1", ROWS[:5], RunSource())
    with pytest.raises(SeqGap) as caught:
        store.ingest("r1", ROWS[6:], RunSource())
    assert caught.value.last_seq == 5
    with pytest.raises(SeqGap) as caught:
        store.ingest("r2", [{**row, "run": "r2"} for row in ROWS[3:]], RunSource())
    assert caught.value.last_seq == 0
    with pytest.raises(NotFound):
        store.run("r2")


def test_a_hole_inside_a_call_is_taken(store: Store) -> None:
    # A full disk swallowed rows 6 to 8: they will never come, and the rest must.
    store.ingest("r1", ROWS[:5], RunSource())
    store.ingest("r1", [ROWS[4], *ROWS[8:]], RunSource())
    assert store.run("r1").last_seq == len(ROWS)
    assert len(store.events(run="r1", limit=1000)) == len(ROWS) - 3


def test_what_a_client_says_is_cut_and_never_stops_the_run(store: Store) -> None:
    refused = next(row for row in ROWS if row["type"] == "update-rejected")
    accepted = next(row for row in ROWS if row["type"] == "update-accepted")
    rows = [
        *ROWS[:4],
        {**refused, "detail": "\0\ud800" + "<script>" * 10_000},
        {**accepted, "metrics": {"n\0\udc00" * 200: 1.0, **{f"m{index}": index for index in range(1000)}}},
        {**accepted, "num-examples": 2**63, "metrics": {"int64": 2**62, "beyond": 10**400}, "client": "mallory"},
    ]
    store.ingest("r1", [{**row, "seq": seq} for seq, row in enumerate(rows, 1)], RunSource())
    found = store.updates("r1", state="rejected").items[0]
    assert found.detail.startswith("�?<script>")
    assert len(found.detail) == checking.MAX_TEXT
    mallory, other = store.updates("r1", state="accepted").items
    assert (mallory.num_examples, mallory.metrics) == (checking.MAX_ADDED, {"int64": 2.0**62})
    kept = other.metrics
    assert len(kept) == checking.MAX_METRICS
    assert max(map(len, kept)) == checking.MAX_NAME


def test_kinds_of_events_that_are_not_known_are_kept_and_not_counted(store: Store) -> None:
    store.ingest("r1", ROWS[:5], RunSource())
    strange = {
        "seq": 6,
        "ts": 1.0,
        "run": "r1",
        "type": "from-the-future",
        "server-round": 10**12,
        "x": [{"y": None}, "\0"],
    }
    before = store.snapshot("r1").rounds
    told = store.ingest("r1", [strange], RunSource())
    assert told.events[0].data == {"server-round": 10**12, "x": [{"y": None}, "\0"]}
    assert store.events(types=["from-the-future"])[0].data == told.events[0].data
    assert store.snapshot("r1").rounds == before


def test_an_event_as_large_as_a_library_is_refused(new_store: Callable[[], Store]) -> None:
    huge = {"seq": 1, "ts": 1.0, "run": "r1", "type": "x", "y": "z" * (checking.MAX_EVENT_CHARS + 1)}
    with pytest.raises(BadEvent, match="at most"):
        new_store().ingest("r1", [huge], RunSource())


def test_a_row_as_deep_as_the_sea_is_refused(new_store: Callable[[], Store]) -> None:
    deep: Any = 0
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(BadEvent, match="JSON"):
        new_store().ingest("r1", [{"seq": 1, "ts": 1.0, "run": "r1", "type": "x", "y": deep}], RunSource())


NAMES = ["'; DROP TABLE runs; --", "%", "_", "client-\uff11", "\u202eevil", "a'b\"c", "\\", "naïve ☃", "<img src=x>"]


@pytest.mark.parametrize("name", NAMES)
def test_names_are_only_names(store: Store, name: str) -> None:
    rows = [{**row, "client": name} if "client" in row else row for row in ROWS]
    rows = [{**row, "clients": [name]} if "clients" in row else row for row in rows]
    store.ingest("r1", rows, RunSource())
    assert name in {view.client for view in store.clients("r1").items}
    assert {view.client for view in store.round_updates("r1", 1)} == {name}
    assert store.runs(query=name).items == ()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_with_anything_in_them_are_taken_whole_or_refused(
    new_store: Callable[[], Store], data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(ROWS) - 1))
    key = data.draw(st.sampled_from(sorted(ROWS[place])))
    rows = [*ROWS[:place], {**ROWS[place], key: data.draw(JSON)}, *ROWS[place + 1 :]]
    store = new_store()
    try:
        store.ingest("r1", rows, RunSource())
    except (BadEvent, SeqGap):
        assert store.last_event_id() == 0
    else:
        store.snapshot("r1").model_dump_json()
        assert len(store.events(run="r1", limit=1000)) >= len(ROWS) - 1


@given(cursor=st.text(max_size=40) | st.binary(max_size=40).map(lambda raw: raw.decode("latin1")))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_a_made_up_cursor_is_refused(filled: Store, cursor: str) -> None:
    for ask in (
        lambda: filled.runs(cursor=cursor),
        lambda: filled.rounds("r1", cursor=cursor),
        lambda: filled.updates("r1", cursor=cursor),
        lambda: filled.clients("r1", cursor=cursor),
        lambda: filled.models("r1", cursor=cursor),
    ):
        if cursor:
            with pytest.raises(BadQuery, match="cursor"):
                ask()


@pytest.fixture
def filled(new_store: Callable[[], Store]) -> Store:
    store = new_store()
    store.ingest("r1", ROWS, RunSource())
    return store


def test_a_cursor_of_another_list_is_refused(filled: Store) -> None:
    cursor = filled.rounds("r1", limit=1).next_cursor
    assert cursor is not None
    with pytest.raises(BadQuery, match="cursor"):
        filled.updates("r1", cursor=cursor)
    with pytest.raises(BadQuery, match="cursor"):
        filled.runs(cursor=cursor)


@pytest.mark.parametrize(
    "ask",
    [
        lambda store: store.runs(sort="password"),
        lambda store: store.runs(sort="--created"),
        lambda store: store.runs(limit=0),
        lambda store: store.runs(limit=10**9),
        lambda store: store.rounds("r1", limit=-1),
        lambda store: store.updates("r1", state="nice"),
        lambda store: store.updates("r1", client="\0"),
        lambda store: store.updates("r1", server_round=2**70),
        lambda store: store.snapshot("r1", max_points=1),
        lambda store: store.delta("r1", -1),
        lambda store: store.events(after=-1),
        lambda store: store.events(types=["\0"]),
        lambda store: store.metrics("r1", names=["x"] * 21),
        lambda store: store.metrics("r1", names=["\0"]),
        lambda store: store.metrics("r1", clients=["\ud800"]),
        lambda store: store.compare([], "round"),
        lambda store: store.compare(["r1"], "weight"),
    ],
)
def test_a_question_out_of_range_is_refused(store: Store, ask: Callable[[Store], object]) -> None:
    store.ingest("r1", ROWS, RunSource())
    with pytest.raises(BadQuery):
        ask(store)


@pytest.mark.parametrize("run", ["r2", "", "\0", "\ud800", "x" * 10_000, "../../etc/passwd", "' OR 1=1 --"])
def test_a_run_that_is_not_there_is_not_found(store: Store, run: str) -> None:
    store.ingest("r1", ROWS, RunSource())
    for ask in (
        store.run, store.config, store.snapshot, store.rounds, store.updates, store.clients, store.models,
        store.metrics, store.round_rows, lambda name: store.delta(name, 0), lambda name: store.events(run=name),
        lambda name: store.compare(["r1", name], "round"), lambda name: store.round_updates(name, 1),
    ):  # fmt: skip
        with pytest.raises(NotFound):
            ask(run)
