"""Samples of processes: the last one is shown, history is bounded, and clocks of others are not trusted."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.storage import nodes
from app.storage.store import Store
from app.storage.values import NodeSample
from shared.errors import BadEvent, NotFound


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(url: str, tmp_path: Path, clock: Clock) -> Iterator[Store]:
    with Store.open(url, str(tmp_path / "objects"), now=clock) as opened:
        yield opened


def sample(node: str, ts: float, cpu: float = 10.0, **more: Any) -> NodeSample:
    return NodeSample(**{"node": node, "kind": "worker", "host": "h", "ts": ts, "cpu_percent": cpu, **more})


def test_the_last_sample_is_shown_in_the_order_people_count(store: Store, clock: Clock) -> None:
    names = [("client-10", "client"), ("client-2", "client"), ("worker-1", "worker"), ("server", "server")]
    store.add_samples("r1", [sample(name, clock.now, 5.0, kind=kind) for name, kind in names])
    store.add_samples(
        "r1", [sample("server", clock.now, 80.0, kind="server", rss_bytes=2**33, capabilities={"gpu": "A100"})]
    )
    found = store.nodes("r1")
    assert [view.node for view in found] == ["server", "worker-1", "client-2", "client-10"]
    assert (found[0].cpu_percent, found[0].rss_bytes, found[0].capabilities) == (80.0, 2**33, {"gpu": "A100"})
    assert store.nodes("r2") == ()
    assert len(store.nodes()) == 4


def test_a_node_that_is_silent_goes_stale_and_offline(store: Store, clock: Clock) -> None:
    store.add_samples(None, [sample("n", clock.now)])
    states = []
    for _ in range(3):
        states.append(store.nodes()[0].state)
        clock.now += 25.0
    assert states == ["online", "stale", "offline"]


def test_a_clock_that_is_wrong_changes_nothing(store: Store, clock: Clock) -> None:
    store.add_samples("r1", [sample("n", clock.now + 1e6), sample("n", clock.now - 2.0)])
    assert store.nodes("r1")[0].last_seen_ts == clock.now
    assert [point.ts for point in store.samples("r1", "n")] == [clock.now, clock.now - 2.0]


def test_history_is_thinned_as_it_ages_and_never_grows_beyond_its_bound(store: Store, clock: Clock) -> None:
    for _ in range(60):
        store.add_samples("r1", [sample("n", clock.now + index / 100, float(index)) for index in range(100)])
        clock.now += 100.0
    points = store.samples("r1", "n", max_points=5000)
    assert nodes.RECENT <= len(points) <= nodes.MAX_KEPT
    assert points[0].ts == 1_700_000_000.0
    recent = [point.ts for point in points[-nodes.RECENT :]]
    assert recent == sorted(recent)
    assert recent[0] >= clock.now - 600.0  # the last six calls, whole


def test_a_chart_gets_few_points_with_the_extremes(store: Store, clock: Clock) -> None:
    loads = [1.0] * 500
    loads[123], loads[321] = 99.0, 0.0
    store.add_samples("r1", [sample("n", clock.now, load) for load in loads])
    points = store.samples("r1", "n", max_points=20)
    assert len(points) <= 20
    assert {99.0, 0.0} <= {point.cpu_percent for point in points}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("node", ""),
        ("node", "x" * 201),
        ("node", "\0"),
        ("host", "x" * 201),
        ("kind", "toaster"),
        ("ts", math.nan),
        ("ts", None),
        ("cpu_percent", -1.0),
        ("cpu_percent", math.inf),
        ("cpu_percent", True),
        ("rss_bytes", 2**63),
        ("rss_bytes", 1.5),
        ("capabilities", {"x": "y" * 20_000}),
        ("capabilities", {"x": math.nan}),
    ],
)
def test_a_wrong_sample_is_named_and_nothing_is_written(store: Store, clock: Clock, field: str, value: object) -> None:
    bad = dataclasses.replace(sample("bad", clock.now), **{field: value})
    with pytest.raises(BadEvent) as caught:
        store.add_samples("r1", [sample("good", clock.now), bad])
    assert caught.value.field == f"samples[1].{field}"
    assert store.nodes("r1") == ()


def test_names_cannot_fill_the_disk(store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "MAX_NODES", 10)
    store.add_samples("r1", [sample(f"n{index}", clock.now) for index in range(10)])
    with pytest.raises(BadEvent, match="at most 10 nodes"):
        store.add_samples("r1", [sample("one-more", clock.now)])
    store.add_samples("r1", [sample("n3", clock.now)])  # who is known may go on


def test_a_node_that_is_not_there_is_not_found(store: Store) -> None:
    with pytest.raises(NotFound):
        store.samples("r1", "n")
