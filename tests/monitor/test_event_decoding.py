from __future__ import annotations

import json
import math
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.event_decoding import envelope_of
from shared.events import EVENT_TYPES, Envelope, Event, JsonValue, UpdateAccepted

TEXT = st.text(max_size=20)
NUMBER = st.floats(allow_nan=False, allow_infinity=False)
VALUES: dict[str, st.SearchStrategy[object]] = {
    "str": TEXT,
    "int": st.integers(-(2**60), 2**60),
    "float": NUMBER,
    "bool": st.booleans(),
    "list[str]": st.lists(TEXT, max_size=3),
    "dict[str, float]": st.dictionaries(TEXT, NUMBER, max_size=3),
    "dict[str, list[int]]": st.dictionaries(TEXT, st.lists(st.integers(0, 99), max_size=3), max_size=3),
    "Mapping[str, JsonValue]": st.dictionaries(TEXT, st.one_of(st.none(), TEXT, NUMBER), max_size=3),
    "float | None": st.none() | NUMBER,
    "int | None": st.none() | st.integers(0, 99),
    "str | None": st.none() | TEXT,
}


def events() -> st.SearchStrategy[Event]:
    return st.one_of(
        [
            st.builds(kind, **{field.name: VALUES[str(field.type)] for field in fields(kind)})
            for kind in EVENT_TYPES.values()
        ]
    )


@given(event=events())
def test_every_event_comes_back_as_it_was_written(event: Event) -> None:
    envelope = Envelope(seq=3, ts=1.5, run="r", event=event)
    assert envelope_of(json.loads(json.dumps(envelope.to_json()))) == envelope


def accepted(**changes: JsonValue) -> dict[str, JsonValue]:
    row: dict[str, JsonValue] = {
        "seq": 1, "ts": 2.0, "run": "r", "type": "update-accepted", "server-round": 1, "phase": "train",
        "client": "a", "num-examples": 9, "metrics": {"loss": 0.5},
    }  # fmt: skip
    return {key: value for key, value in (row | changes).items() if value != "left out"}


def test_a_metric_that_json_could_not_hold_is_left_out() -> None:
    envelope = envelope_of(accepted(metrics={"loss": None, "accuracy": 1}))
    assert envelope is not None
    assert isinstance(envelope.event, UpdateAccepted)
    assert envelope.event.metrics == {"accuracy": 1.0}


def test_fields_of_a_newer_version_are_passed_over() -> None:
    assert envelope_of(accepted(color="blue")) == envelope_of(accepted())


@pytest.mark.parametrize(
    "changes",
    [
        {"type": "unheard-of"}, {"type": None}, {"type": []}, {"seq": "1"}, {"seq": True}, {"seq": None},
        {"ts": math.inf}, {"ts": "now"}, {"run": 5}, {"client": "left out"}, {"client": None}, {"client": ["a"]},
        {"num-examples": 1.5}, {"num-examples": True}, {"metrics": []}, {"metrics": {"loss": "low"}},
        {"metrics": {"loss": 10**400}}, {"norm": "big"}, {"server-round": {}},
    ],
)  # fmt: skip
def test_what_does_not_fit_is_no_event(changes: dict[str, JsonValue]) -> None:
    assert envelope_of(accepted()) is not None
    assert envelope_of(accepted(**changes)) is None


def test_every_field_of_every_event_can_be_drawn_here() -> None:
    for kind in EVENT_TYPES.values():
        for field in fields(kind):
            assert str(field.type) in VALUES, f"{kind.type}.{field.name}"
