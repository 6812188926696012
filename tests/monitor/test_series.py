import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.metrics_csv import COLUMNS, metrics_csv, write_metrics_csv
from monitor.rows import Row, rows_of
from monitor.series import read_series
from monitor.sinks import JsonlSink, read_events
from monitor.tables import RunSeries
from shared.events import (
    ClientIdentified,
    ClientsEvaluated,
    Event,
    EventLog,
    MemorySink,
    ModelEvaluated,
    PartitionDescribed,
    PhaseEnded,
    PhaseStarted,
    RoundClosed,
    RoundStarted,
    RunEnded,
    RunStarted,
    UpdateAccepted,
    UpdateCapped,
    UpdateLate,
    UpdateReceived,
    UpdateRejected,
)


class Clock:
    """One second an event."""

    def __init__(self) -> None:
        self.time = 999.0

    def __call__(self) -> float:
        self.time += 1.0
        return self.time


def rows(*events: Event) -> list[Row]:
    sink = MemorySink()
    log = EventLog("r1", [sink], Clock())
    for event in events:
        log.emit(event)
    return rows_of(sink.envelopes)


def series(*events: Event) -> RunSeries:
    return read_series(rows(*events))


def started(first_round: int = 1) -> RunStarted:
    return RunStarted(
        config={"dataset": "d", "num-rounds": 2}, first_round=first_round, clients=["a", "b"], num_clients=2,
        num_parameters=7, workers=2,
    )  # fmt: skip


def accepted(client: str, number: int, phase: str = "train", examples: int = 10, **metrics: float) -> UpdateAccepted:
    return UpdateAccepted(
        server_round=number, phase=phase, client=client, num_examples=examples, norm=1.5, metrics=metrics
    )


def rejected(client: str, number: int, reason: str = "norm", phase: str = "train") -> UpdateRejected:
    return UpdateRejected(server_round=number, phase=phase, client=client, node_id="1", reason=reason, detail="why")


def phase_ended(number: int, phase: str, collect: float, aggregate: float, *, kept: bool = False) -> PhaseEnded:
    return PhaseEnded(
        server_round=number, phase=phase, accepted=1, rejected=0, late=0, collect_seconds=collect,
        aggregate_seconds=aggregate, kept_old_model=kept, metrics={"loss": 0.7},
    )  # fmt: skip


def closed(number: int, seconds: float = 4.0) -> RoundClosed:
    return RoundClosed(server_round=number, seconds=seconds, model_digest=f"d{number}", checkpoint_seconds=0.25)


def evaluated(number: int, accuracy: float, seconds: float = 0.5) -> ModelEvaluated:
    return ModelEvaluated(server_round=number, metrics={"loss": 1 - accuracy, "accuracy": accuracy}, seconds=seconds)


def one_round(number: int, accuracy: float) -> list[Event]:
    return [
        RoundStarted(server_round=number, attempt=1),
        PhaseStarted(server_round=number, phase="train", clients=["a", "b"]),
        UpdateReceived(server_round=number, phase="train", client="a", node_id="1", seconds=2.0, num_bytes=100),
        accepted("a", number, loss=0.4),
        rejected("b", number),
        phase_ended(number, "train", 2.0, 0.125),
        evaluated(number, accuracy),
        closed(number),
    ]


def test_a_round_is_one_row_with_its_counts_and_times() -> None:
    events = [
        started(),
        RoundStarted(server_round=1, attempt=1),
        PhaseStarted(server_round=1, phase="train", clients=["a", "b"]),
        accepted("a", 1, examples=30),
        accepted("c", 1, examples=12),
        rejected("b", 1),
        rejected("", 1),
        UpdateLate(server_round=1, phase="train", client="b", seconds=2.0),
        UpdateCapped(server_round=1, client="a", claimed=99, counted=30.0, bound="cohort-median"),
        phase_ended(1, "train", 2.0, 0.125),
        accepted("a", 1, "evaluate"),
        rejected("b", 1, phase="evaluate"),
        UpdateLate(server_round=1, phase="evaluate", client="b", seconds=2.0),
        phase_ended(1, "evaluate", 1.0, 0.0625),
        evaluated(1, 0.75),
        closed(1),
    ]
    row = series(*events).rounds[0]
    assert (row.accepted, row.rejected, row.late, row.capped, row.num_examples) == (2, 2, 1, 1, 42)
    assert (row.evaluations_accepted, row.evaluations_rejected, row.evaluations_late) == (1, 1, 1)
    assert (row.collect_seconds, row.aggregate_seconds) == (2.0, 0.125)
    assert row.evaluate_seconds == 1.0 + 0.0625 + 0.5
    assert (row.checkpoint_seconds, row.seconds, row.train_loss) == (0.25, 4.0, 0.7)
    assert (row.loss, row.accuracy, row.model_digest, row.is_closed) == (0.25, 0.75, "d1", True)


def test_the_summary_adds_up_the_run() -> None:
    events = [started(), evaluated(0, 0.1), *one_round(1, 0.8), *one_round(2, 0.7)]
    found = series(*events, RunEnded(state="completed", rounds_completed=2, seconds=12.0)).summary
    assert (found.state, found.rounds_completed, found.accuracy, found.initial_accuracy) == ("completed", 2, 0.7, 0.1)
    assert (found.best_accuracy, found.best_round) == (0.8, 1)
    assert (found.updates_accepted, found.updates_rejected, found.rejections) == (2, 2, {"norm": 2})
    assert (found.seconds_total, found.seconds_rounds, found.num_bytes) == (12.0, 8.0, 200)
    assert found.model_digest == "d2"


def test_each_client_is_one_row_over_all_rounds() -> None:
    described = PartitionDescribed(class_names=["x", "y"], histograms={"a": [3, 4], "b": [0, 5]})
    found = series(started(), described, *one_round(1, 0.5), *one_round(2, 0.6), accepted("a", 2, "evaluate", loss=0.1))
    a, b = found.clients
    assert (a.client, a.histogram, a.num_examples) == ("a", (3, 4), 7)
    assert (a.asked, a.accepted, a.rejected, a.mean_seconds, a.num_bytes, a.norm) == (2, 2, 0, 2.0, 200, 1.5)
    assert a.loss == 0.1
    assert (b.accepted, b.rejected, b.rejections) == (0, 2, {"norm": 2})
    assert found.has_histograms


def test_what_a_node_did_before_its_client_was_known_is_the_clients() -> None:
    def received(client: str) -> UpdateReceived:
        return UpdateReceived(
            server_round=1, phase="train", client=client, node_id=client[5:], seconds=2.0, num_bytes=9
        )

    table = series(
        started(),
        RoundStarted(server_round=1, attempt=1),
        PhaseStarted(server_round=1, phase="train", clients=["node-7", "node-8"]),
        received("node-7"),
        ClientIdentified(server_round=1, client="a", node_id="7"),
        accepted("a", 1),
        UpdateLate(server_round=1, phase="train", client="node-9", seconds=2.0),
        rejected("node-9", 1, "replay"),
        ClientIdentified(server_round=1, client="b", node_id="9"),
        received("node-8"),
        rejected("node-8", 1, "unknown-key"),
        closed(1),
    )
    rows_by_client = {row.client: row for row in table.clients}
    assert list(rows_by_client) == ["a", "b", "node-8"]
    known, troubled, unknown = (rows_by_client[name] for name in ("a", "b", "node-8"))
    assert (troubled.rejected, troubled.late, troubled.rejections) == (1, 1, {"replay": 1})
    assert (known.asked, known.accepted, known.mean_seconds, known.num_bytes) == (1, 1, 2.0, 9)
    assert (unknown.asked, unknown.accepted, unknown.rejected, unknown.num_bytes) == (1, 0, 1, 9)


def test_the_later_attempt_at_a_round_wins() -> None:
    abandoned = [*one_round(1, 0.5), *one_round(2, 0.9)[:5]]
    resumed = [started(first_round=2), RoundStarted(server_round=2, attempt=2), accepted("b", 2), closed(2)]
    found = series(started(), *abandoned, *resumed)
    assert [(row.server_round, row.attempt) for row in found.rounds] == [(1, 1), (2, 2)]
    assert (found.rounds[1].accepted, found.rounds[1].rejected) == (1, 0)
    assert found.summary.updates_rejected == 1
    assert found.summary.num_starts == 2


def test_a_run_resumed_from_an_older_checkpoint_forgets_what_came_after() -> None:
    found = series(started(), *one_round(1, 0.5), *one_round(2, 0.6), started(first_round=2))
    assert [row.server_round for row in found.rounds] == [1]
    found = series(started(), *one_round(1, 0.5), *one_round(2, 0.6), RoundStarted(server_round=1, attempt=2))
    assert [(row.server_round, row.is_closed) for row in found.rounds] == [(1, False)]


def test_the_initial_model_is_kept_over_a_resume() -> None:
    found = series(started(), evaluated(0, 0.1), *one_round(1, 0.5), started(first_round=2), *one_round(2, 0.6))
    assert found.summary.initial_accuracy == 0.1
    assert [row.server_round for row in found.rounds] == [0, 1, 2]


def test_the_time_of_a_killed_start_counts_up_to_its_last_event() -> None:
    # The first start has 5 events one second apart, so 4 s; the second says 3 s itself.
    killed = [started(), *one_round(1, 0.5)[:4]]
    found = series(*killed, started(), RunEnded(state="completed", rounds_completed=2, seconds=3.0))
    assert found.summary.seconds_total == 7.0
    assert series(*killed).summary.state == "unfinished"


def test_the_spread_over_clients_is_taken_from_the_event() -> None:
    event = ClientsEvaluated(
        server_round=1, mean={"loss": 0.5, "accuracy": 0.6}, deviation={"accuracy": 0.1}, minimum={"accuracy": 0.4},
        maximum={"accuracy": 0.9}, num_clients=2,
    )  # fmt: skip
    row = series(started(), event, closed(1)).rounds[0]
    assert row.client_accuracy is not None
    assert row.client_loss is not None
    spread = row.client_accuracy
    assert (spread.mean, spread.deviation, spread.minimum, spread.maximum, spread.p10) == (0.6, 0.1, 0.4, 0.9, None)
    assert (row.client_loss.mean, row.client_loss.deviation, row.client_loss.minimum) == (0.5, 0.0, 0.5)


def test_without_that_event_the_spread_is_computed_from_the_replies() -> None:
    replies = [accepted(f"c{i}", 1, "evaluate", accuracy=i / 10) for i in range(11)]
    spread = series(started(), *replies, closed(1)).rounds[0].client_accuracy
    assert spread is not None
    # 0.0, 0.1 ... 1.0: mean 0.5, population variance (11^2 - 1) / 12 / 100 = 0.1, and the 10th percentile is 0.1.
    assert spread.mean == pytest.approx(0.5)
    assert spread.deviation == pytest.approx(math.sqrt(0.1))
    assert (spread.minimum, spread.maximum) == (0.0, 1.0)
    assert spread.p10 == pytest.approx(0.1)
    assert spread.p90 == pytest.approx(0.9)


def test_without_a_central_test_set_the_clients_mean_is_the_runs_accuracy() -> None:
    replies = [accepted("a", 1, "evaluate", accuracy=0.5), accepted("b", 1, "evaluate", accuracy=1.0)]
    assert series(started(), *replies, closed(1)).summary.accuracy == 0.75


def test_refusals_keep_order_reason_and_words() -> None:
    found = series(started(), rejected("a", 1, "replay"), rejected("", 1, "norm", phase="evaluate"))
    assert [(r.server_round, r.phase, r.client, r.reason, r.detail) for r in found.refusals] == [
        (1, "train", "a", "replay", "why"),
        (1, "evaluate", "", "norm", "why"),
    ]
    assert found.summary.rejections == {"replay": 1}
    assert found.summary.evaluations_rejected == 1
    assert [client.client for client in found.clients] == ["a", "b"]


def test_no_events_are_an_empty_run() -> None:
    found = read_series([])
    assert (found.rounds, found.clients, found.refusals) == ((), (), ())
    assert found.summary.state == "unfinished"
    assert found.summary.accuracy is None


def test_a_file_and_memory_tell_the_same(tmp_path: Path) -> None:
    events = [started(), evaluated(0, 0.1), *one_round(1, math.nan), *one_round(2, 0.5)]
    sink = JsonlSink(tmp_path / "events.jsonl")
    log = EventLog("r1", [sink], Clock())
    for event in events:
        log.emit(event)
    log.close()
    assert read_series(read_events(sink.path)) == series(*events)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.data())
def test_rows_with_anything_in_them_never_stop_the_reader(data: st.DataObject) -> None:
    whole = rows(started(), *one_round(1, 0.5), RunEnded(state="completed", rounds_completed=1, seconds=1.0))
    whole.insert(1, {"type": "partition-described", "histograms": {"a": [1, 2]}, "class-names": ["x"]})
    place = data.draw(st.integers(0, len(whole) - 1))
    key = data.draw(st.sampled_from(sorted(whole[place])))
    whole[place] = {**whole[place], key: data.draw(JSON)}
    metrics_csv(read_series(whole).rounds)


def test_metrics_csv_has_one_line_a_closed_round(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    write_metrics_csv(path, rows(started(), evaluated(0, 0.1), *one_round(1, 0.5), *one_round(2, 0.6)[:3]))
    head, *lines = path.read_text().splitlines()
    assert head.split(",") == list(COLUMNS)
    assert len(lines) == 1  # the initial model has no round, and round 2 is open
    cells = dict(zip(head.split(","), lines[0].split(","), strict=True))
    wanted = {"round": "1", "loss": "0.5", "accuracy": "0.5", "client_loss_mean": "", "updates_accepted": "1"}
    wanted |= {"updates_rejected": "1", "kept_old_model": "false", "seconds": "4", "model_digest": "d1"}
    assert {key: cells[key] for key in wanted} == wanted


def test_a_csv_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("old")

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_metrics_csv(path, [])
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_tables_do_not_depend_on_the_order_of_keys() -> None:
    found = [json.loads(json.dumps(row, sort_keys=True)) for row in rows(started(), *one_round(1, 0.5))]
    assert read_series(found) == series(started(), *one_round(1, 0.5))
