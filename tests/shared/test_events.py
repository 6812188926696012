from __future__ import annotations

import json
import math
import re
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import events
from shared.events import EVENT_TYPES, Envelope, Event, EventLog, MemorySink, RunEnded, RunPaused
from shared.reasons import Reason

# One event of each type, and the JSON it becomes, written by hand from the documentation of the format.
EXAMPLES: list[tuple[Event, dict[str, Any]]] = [
    (
        events.RunStarted(
            config={"num-rounds": 5, "alpha": 0.5, "signatures": True, "attack": ""},
            first_round=1,
            clients=["client-0", "client-1"],
            num_clients=2,
            num_parameters=46_730,
            workers=2,
        ),
        {
            "type": "run-started",
            "config": {"num-rounds": 5, "alpha": 0.5, "signatures": True, "attack": ""},
            "first-round": 1,
            "clients": ["client-0", "client-1"],
            "num-clients": 2,
            "num-parameters": 46_730,
            "workers": 2,
        },
    ),
    (
        events.PartitionDescribed(class_names=["0", "1"], histograms={"client-0": [3, 4]}),
        {"type": "partition-described", "class-names": ["0", "1"], "histograms": {"client-0": [3, 4]}},
    ),
    (events.RunWaiting(reason="paused"), {"type": "run-waiting", "reason": "paused"}),
    (events.RunPaused(), {"type": "run-paused"}),
    (events.RunResumed(), {"type": "run-resumed"}),
    (events.RoundStarted(server_round=2, attempt=1), {"type": "round-started", "server-round": 2, "attempt": 1}),
    (
        events.PhaseStarted(server_round=1, phase="train", clients=["client-0"]),
        {"type": "phase-started", "server-round": 1, "phase": "train", "clients": ["client-0"]},
    ),
    (
        events.UpdateReceived(server_round=1, phase="train", client="client-0", node_id="77", seconds=0.5),
        {
            "type": "update-received",
            "server-round": 1,
            "phase": "train",
            "client": "client-0",
            "node-id": "77",
            "seconds": 0.5,
        },
    ),
    (
        events.UpdateAccepted(
            server_round=1, phase="train", client="c", num_examples=8, norm=1.5, metrics={"loss": math.nan}
        ),
        {
            "type": "update-accepted",
            "server-round": 1,
            "phase": "train",
            "client": "c",
            "num-examples": 8,
            "norm": 1.5,
            "metrics": {"loss": None},
        },
    ),
    (
        events.UpdateRejected(
            server_round=1, phase="evaluate", client="c", node_id="7", reason=Reason.BAD_SIGNATURE, detail="no"
        ),
        {
            "type": "update-rejected",
            "server-round": 1,
            "phase": "evaluate",
            "client": "c",
            "node-id": "7",
            "reason": "bad-signature",
            "detail": "no",
        },
    ),
    (
        events.ClientIdentified(server_round=1, client="c", node_id="7"),
        {"type": "client-identified", "server-round": 1, "client": "c", "node-id": "7"},
    ),
    (
        events.UpdateCapped(server_round=1, client="c", claimed=10**12, counted=80.0, bound="cohort-median"),
        {
            "type": "update-capped",
            "server-round": 1,
            "client": "c",
            "claimed": 10**12,
            "counted": 80.0,
            "bound": "cohort-median",
        },
    ),
    (
        events.UpdateLate(server_round=1, phase="train", client="c", seconds=600.0),
        {"type": "update-late", "server-round": 1, "phase": "train", "client": "c", "seconds": 600.0},
    ),
    (
        events.PhaseEnded(
            server_round=1,
            phase="train",
            accepted=2,
            rejected=1,
            late=0,
            collect_seconds=1.0,
            aggregate_seconds=0.25,
            kept_old_model=False,
            metrics={"loss": 0.5},
        ),
        {
            "type": "phase-ended",
            "server-round": 1,
            "phase": "train",
            "accepted": 2,
            "rejected": 1,
            "late": 0,
            "collect-seconds": 1.0,
            "aggregate-seconds": 0.25,
            "kept-old-model": False,
            "metrics": {"loss": 0.5},
        },
    ),
    (
        events.PrivacySpent(
            server_round=1,
            unit="example",
            epsilon=2.5,
            epsilon_median=2.0,
            delta=1e-5,
            target_epsilon=8.0,
            accountant="prv",
            noise_multiplier=1.25,
            max_grad_norm=1.0,
            sample_rate=0.125,
            steps=8,
            sampler="poisson",
            num_clients=2,
            exhausted_clients=0,
            warning="",
            by_client={"client-0": 2.5, "client-1": 1.5},
        ),
        {
            "type": "privacy-spent",
            "server-round": 1,
            "unit": "example",
            "epsilon": 2.5,
            "epsilon-median": 2.0,
            "delta": 1e-5,
            "target-epsilon": 8.0,
            "accountant": "prv",
            "noise-multiplier": 1.25,
            "max-grad-norm": 1.0,
            "sample-rate": 0.125,
            "steps": 8,
            "sampler": "poisson",
            "num-clients": 2,
            "exhausted-clients": 0,
            "warning": "",
            "by-client": {"client-0": 2.5, "client-1": 1.5},
        },
    ),
    (
        events.ModelEvaluated(server_round=0, metrics={"loss": math.inf, "accuracy": 0.125}, seconds=0.5),
        {
            "type": "model-evaluated",
            "server-round": 0,
            "metrics": {"loss": None, "accuracy": 0.125},
            "seconds": 0.5,
        },
    ),
    (
        events.ClientsEvaluated(
            server_round=1,
            mean={"accuracy": 0.5},
            deviation={"accuracy": 0.25},
            minimum={"accuracy": 0.25},
            maximum={"accuracy": 0.75},
            num_clients=2,
        ),
        {
            "type": "clients-evaluated",
            "server-round": 1,
            "mean": {"accuracy": 0.5},
            "deviation": {"accuracy": 0.25},
            "minimum": {"accuracy": 0.25},
            "maximum": {"accuracy": 0.75},
            "num-clients": 2,
        },
    ),
    (
        events.RoundClosed(server_round=1, seconds=2.0, model_digest="ab" * 32, checkpoint_seconds=0.125),
        {
            "type": "round-closed",
            "server-round": 1,
            "seconds": 2.0,
            "model-digest": "ab" * 32,
            "checkpoint-seconds": 0.125,
        },
    ),
    (
        events.RunEnded(state="completed", rounds_completed=5, seconds=9.5),
        {"type": "run-ended", "state": "completed", "rounds-completed": 5, "seconds": 9.5},
    ),
]


def json_of(event: Event) -> dict[str, Any]:
    return dict(Envelope(seq=3, ts=1.5, run="r", event=event).to_json())


@pytest.mark.parametrize(("event", "expected"), EXAMPLES, ids=[event.type for event, _ in EXAMPLES])
def test_event_becomes_this_json(event: Event, expected: dict[str, Any]) -> None:
    row = json_of(event)
    assert row == {"seq": 3, "ts": 1.5, "run": "r", **expected}
    assert json.loads(json.dumps(row, allow_nan=False)) == row, "strict JSON, without NaN and Infinity"


def test_every_event_type_has_its_example_and_its_own_name() -> None:
    kinds = {kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, Event)} - {Event}
    assert set(EVENT_TYPES.values()) == kinds
    assert {type(event) for event, _ in EXAMPLES} == kinds
    assert all(name == kind.type and re.fullmatch(r"[a-z]+(-[a-z]+)*", name) for name, kind in EVENT_TYPES.items())


@pytest.mark.parametrize("kind", EVENT_TYPES.values(), ids=EVENT_TYPES.keys())
def test_no_field_hides_the_events_place_in_the_run(kind: type[Event]) -> None:
    assert {field.name for field in fields(kind)} & {"seq", "ts", "run", "type"} == set()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_number_that_json_cannot_hold_is_null_at_any_depth(value: float) -> None:
    config: Any = {"a": value, "b": [1, value], "c": {"d": (value,)}}
    event = events.RunStarted(config=config, first_round=1, clients=[], num_clients=0, num_parameters=0, workers=1)
    assert json_of(event)["config"] == {"a": None, "b": [1, None], "c": {"d": [None]}}


def test_field_that_is_none_is_left_out_and_zero_is_not() -> None:
    bare = events.UpdateReceived(server_round=1, phase="train", client="", node_id="", seconds=0.0)
    full = events.UpdateReceived(
        server_round=1, phase="train", client="", node_id="", seconds=0.0, compute_seconds=0.0, num_bytes=0
    )
    assert {"compute-seconds", "num-bytes"} & set(json_of(bare)) == set()
    assert (json_of(full)["compute-seconds"], json_of(full)["num-bytes"]) == (0.0, 0)
    assert json_of(bare)["client"] == ""
    assert json_of(RunEnded(state="failed", rounds_completed=0, seconds=0.0, error="why"))["error"] == "why"


@pytest.mark.parametrize("value", [b"key", object(), {1, 2}, 1j])
def test_what_is_no_json_is_a_type_error(value: object) -> None:
    hostile: Any = {"x": value}
    with pytest.raises(TypeError, match=f"an event cannot hold a {type(value).__name__}"):
        json_of(events.ModelEvaluated(server_round=1, metrics=hostile, seconds=0.0))


def test_events_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        EXAMPLES[2][0].reason = "other"  # type: ignore[attr-defined]


@given(st.dictionaries(st.text(), st.floats() | st.integers()))
def test_any_metrics_become_strict_json(metrics: dict[str, float]) -> None:
    row = json_of(events.ModelEvaluated(server_round=1, metrics=metrics, seconds=0.0))
    assert json.loads(json.dumps(row, allow_nan=False)) == row


def test_log_numbers_events_without_gaps_and_hands_them_to_every_sink() -> None:
    first, second = MemorySink(), MemorySink()
    clock = iter([10.0, 11.0, 12.0])
    log = EventLog("r1", [first, second], lambda: next(clock))
    for event in (RunPaused(), RunPaused(), RunEnded(state="stopped", rounds_completed=0, seconds=2.0)):
        log.emit(event)
    assert [(envelope.seq, envelope.ts, envelope.run) for envelope in first.envelopes] == [
        (1, 10.0, "r1"),
        (2, 11.0, "r1"),
        (3, 12.0, "r1"),
    ]
    assert first.envelopes == second.envelopes


def test_log_of_a_resumed_run_goes_on_counting() -> None:
    sink = MemorySink()
    EventLog("r1", [sink], lambda: 0.0, first_seq=41).emit(RunPaused())
    assert sink.envelopes[0].seq == 41


def test_log_closes_every_sink() -> None:
    closed: list[str] = []

    class Closing(MemorySink):
        def close(self) -> None:
            closed.append("closed")

    EventLog("r", [Closing(), Closing()], lambda: 0.0).close()
    assert closed == ["closed", "closed"]


def test_memory_sink_finds_events_by_type_in_order() -> None:
    sink = MemorySink()
    log = EventLog("r", [sink], lambda: 0.0)
    for number in (1, 2):
        log.emit(events.RoundStarted(server_round=number, attempt=1))
        log.emit(RunPaused())
    log.close()
    assert [event.server_round for event in sink.of_type(events.RoundStarted)] == [1, 2]
    assert len(sink.of_type(Event)) == 4


def test_reasons_are_stable_words() -> None:
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", reason.value) for reason in Reason)
    assert len({reason.value for reason in Reason}) == len(Reason)
    assert {"stale-attempt", "bad-signature", "replay", "wrong-nonce", "unknown-key", "non-finite"} <= set(Reason)
