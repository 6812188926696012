"""The pages' pure modules, asked inside the browser that runs them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.browser.visiting import Furnished, Visitor

pytestmark = pytest.mark.e2e


@pytest.fixture
def ask(furnished: Furnished, visitor: Callable[..., Visitor]) -> Callable[[str, str, Any], Any]:
    """Call ``body`` with a module and an argument."""
    page = visitor(furnished.dashboard.url).open("/login")

    def call(module: str, body: str, argument: Any = None) -> Any:
        return page.evaluate(
            f"async (argument) => {{ const module = await import('/static/js/{module}'); {body} }}", argument
        )

    return call


def _snapshot(**changes: Any) -> dict[str, Any]:
    empty = {
        "run": {"run_id": "r", "current_round": 1, "phase": "train"}, "last_seq": 5, "config": {}, "rounds": [],
        "num_rounds_known": 0, "clients": [], "current": None, "partition": None, "rejections": [], "nodes": [],
        "privacy": None, "models": [],
    }  # fmt: skip
    return {**empty, **changes}


def _delta(last_seq: int, **changes: Any) -> dict[str, Any]:
    empty = {
        "run": {"run_id": "r", "current_round": 2, "phase": "train"}, "last_seq": last_seq, "rounds": [], "clients": [],
        "current": None, "rejections": [], "privacy": None, "nodes": [], "partition": None, "models": [],
    }  # fmt: skip
    return {**empty, **changes}


def merged(ask: Callable[..., Any], snapshot: dict[str, Any], delta: dict[str, Any]) -> Any:
    return ask(
        "merge.js", "return module.mergeRun(argument.snapshot, argument.delta);", {"snapshot": snapshot, "delta": delta}
    )


def test_a_delta_replaces_the_round_it_names_and_adds_the_new_one(ask: Callable[..., Any]) -> None:
    before = _snapshot(rounds=[{"server_round": 0, "loss": 2.0}, {"server_round": 1, "loss": None}])
    after = merged(ask, before, _delta(9, rounds=[{"server_round": 2, "loss": None}, {"server_round": 1, "loss": 1.5}]))
    assert [(each["server_round"], each["loss"]) for each in after["rounds"]] == [(0, 2.0), (1, 1.5), (2, None)]
    assert after["last_seq"] == 9


def test_an_older_delta_changes_nothing(ask: Callable[..., Any]) -> None:
    before = _snapshot(rounds=[{"server_round": 1, "loss": 1.0}])
    assert merged(ask, before, _delta(4, rounds=[{"server_round": 1, "loss": 9.0}])) == before


def test_the_same_delta_twice_is_the_same_as_once(ask: Callable[..., Any]) -> None:
    refusal = {"server_round": 1, "attempt": 1, "phase": "train", "client": "a", "ts": 3.0}
    delta = _delta(7, rejections=[refusal], clients=[{"client": "a"}], rounds=[{"server_round": 2}])
    once = merged(ask, _snapshot(), delta)
    assert merged(ask, once, delta) == once


def test_a_resumed_run_drops_rounds_of_the_abandoned_attempt(ask: Callable[..., Any]) -> None:
    before = _snapshot(rounds=[{"server_round": number} for number in (1, 2, 3)])
    after = merged(ask, before, _delta(8, rounds=[{"server_round": 2, "attempt": 2}]))
    assert [each["server_round"] for each in after["rounds"]] == [1, 2]


def test_updates_of_the_same_phase_are_merged_by_client(ask: Callable[..., Any]) -> None:
    phase = {"server_round": 1, "attempt": 1, "phase": "train", "asked": 2}
    before = _snapshot(
        current={
            **phase,
            "answered": 1,
            "updates": [{"client": "a", "state": "accepted"}, {"client": "b", "state": "waiting"}],
        }
    )
    after = merged(
        ask, before, _delta(6, current={**phase, "answered": 2, "updates": [{"client": "b", "state": "rejected"}]})
    )
    assert {each["client"]: each["state"] for each in after["current"]["updates"]} == {"a": "accepted", "b": "rejected"}


def test_updates_of_another_phase_begin_anew(ask: Callable[..., Any]) -> None:
    phase = {"server_round": 1, "attempt": 1, "asked": 2, "answered": 0}
    before = _snapshot(current={**phase, "phase": "train", "updates": [{"client": "a", "state": "accepted"}]})
    after = merged(
        ask, before, _delta(6, current={**phase, "phase": "evaluate", "updates": [{"client": "b", "state": "waiting"}]})
    )
    assert [each["client"] for each in after["current"]["updates"]] == ["b"]


def test_clients_keep_their_natural_order(ask: Callable[..., Any]) -> None:
    after = merged(
        ask,
        _snapshot(clients=[{"client": "client-2"}]),
        _delta(6, clients=[{"client": "client-10"}, {"client": "client-1"}]),
    )
    assert [each["client"] for each in after["clients"]] == ["client-1", "client-2", "client-10"]


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("duration(0.0421)", "42 ms"),
        ("duration(75)", "1 min 15 s"),
        ("duration(7260)", "2 h 01 min"),
        ("bytes(1500)", "1.5 kB"),
        ("bytes(12078480)", "12 MB"),
        ("percent(0.96453)", "96.5%"),
        ("decimal(0.00001)", "1.0e-5"),
        ("epsilon(123.4)", "123"),
        ("count(1234567)", "1,234,567"),
        ("percent(null)", "–"),
        ("ago(100, 163000)", "1 min ago"),
    ],
)
def test_numbers_are_written_as_people_read_them(ask: Callable[..., Any], call: str, expected: str) -> None:
    assert ask("format.js", f"return module.{call};") == expected


def test_a_spreadsheet_never_runs_a_client_s_name(ask: Callable[..., Any]) -> None:
    table = {"columns": ["client", "loss"], "rows": [["=HYPERLINK(1)", 0.5], ['say "hi", all', -1.5], ["@a", None]]}
    assert ask("charts/export.js", "return module.toCsv(argument);", table) == (
        'client,loss\r\n\'=HYPERLINK(1),0.5\r\n"say ""hi"", all",-1.5\r\n\'@a,\r\n'
    )


def test_lines_of_different_lengths_share_one_axis(ask: Callable[..., Any]) -> None:
    series = [{"points": [[1, 0.1], [3, 0.3]]}, {"points": [[2, 0.2], [3, None]]}]
    assert ask("charts/columns.js", "return module.align(argument);", series) == [
        [1, 2, 3],
        [0.1, None, 0.3],
        [None, 0.2, None],
    ]


def test_the_exponential_mean_is_the_one_of_the_textbook(ask: Callable[..., Any]) -> None:
    """Three rounds: weight 2 / (3 + 1) = 1/2; 0, 1, 1 -> 0, 0.5, 0.75."""
    points = [[1, 0.0], [2, 1.0], [3, 1.0]]
    assert ask("charts/columns.js", "return module.smooth(argument, 3);", points) == [[1, 0], [2, 0.5], [3, 0.75]]


def test_a_straggler_is_one_and_a_half_times_the_median(ask: Callable[..., Any]) -> None:
    updates = [
        {"client": f"c{number}", "phase": "train", "state": "accepted", "start_s": 0, "seconds": seconds}
        for number, seconds in enumerate((1.0, 1.0, 1.2, 3.0))
    ]
    found = ask("charts/gantt_rows.js", "return module.ganttRows(argument);", updates)
    assert found["slow"] == ["c3"]
    assert found["median"] == pytest.approx(1.1)
    assert [row["client"] for row in found["rows"]] == ["c3", "c2", "c0", "c1"]


def test_a_client_s_colour_follows_from_its_id_alone(ask: Callable[..., Any]) -> None:
    places = ask("colors.js", "return ['client-3', 'client-3', 'site-b', 'client-10'].map(module.placeOf);")
    assert places[0] == places[1] == 3
    assert places[3] == 10
    lines = ask("colors.js", "return [3, 10].map(module.lineOf);")
    assert lines[0]["token"] == lines[1]["token"] and lines[0]["dash"] != lines[1]["dash"]


@pytest.mark.parametrize("number", [1, 2, 8, 40, 100, 200])
def test_every_node_of_the_topology_has_a_place_of_its_own(ask: Callable[..., Any], number: int) -> None:
    places = ask("charts/topology.js", "return module.ringPlaces(argument, 34);", number)
    assert len(places) == number
    closest = min(
        (((a["x"] - b["x"]) ** 2 + (a["y"] - b["y"]) ** 2) ** 0.5 for i, a in enumerate(places) for b in places[:i]),
        default=100,
    )
    assert closest > 20  # a node is 16 across
