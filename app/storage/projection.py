"""From events to rows: what each event changes. Pure, and as dear as the batch is long, however long the run is.

The counts are those of ``monitor.series.read_series``, which a test holds it to: "updates" are replies of every phase
but the evaluation; a reply that was accepted stays accepted when a copy of it is refused; the later attempt at a round
wins (``app.storage.forgetting`` takes the abandoned one away before its successor's first event comes here).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from app.storage.checking import MAX_NAME, CheckedEvent, readable, to_json
from app.storage.records import Board, ModelRecord, RoundRecord
from app.storage.update_projection import (
    accepted,
    bounded,
    client_of,
    identified,
    late,
    received,
    rejected,
    round_of,
    show,
    update_of,
)
from app.storage.values import Row
from monitor import rows
from monitor.metrics import accuracy_of, as_number, loss_of

TERMINAL = frozenset({"completed", "stopped", "failed", "interrupted"})
_DOING = {"train": "training", "evaluate": "evaluating"}
_PRIVACY = (
    "unit", "epsilon", "epsilon-median", "delta", "target-epsilon", "accountant", "noise-multiplier", "max-grad-norm",
    "sample-rate", "steps", "sampler", "exhausted-clients", "warning", "by-client",
)  # fmt: skip


def project(board: Board, events: Iterable[CheckedEvent]) -> None:
    """Apply events to the board, in order."""
    for event in events:
        apply = _APPLY.get(event.type)
        if apply is not None:
            apply(board, event)
        board.run.last_seq = event.seq
        board.run.updated_ts = board.run.last_ts = event.ts


# --- the run


def _run_started(board: Board, event: CheckedEvent) -> None:
    run, row = board.run, event.row
    run.seconds_before = total_seconds(run)
    run.start_ts = run.last_ts = event.ts
    run.started_ts = event.ts if run.started_ts is None else run.started_ts
    run.ended_ts = run.ended_seconds = None
    if run.state in TERMINAL and run.desired_state == "stop":
        run.desired_state = "run"  # that wish was for the start before
    run.state = "stopping" if run.desired_state == "stop" else "running"
    run.reason = run.error = ""
    describe(run, rows.mapping(row, "config"))
    run.num_clients = rows.whole(row, "num-clients", run.num_clients)
    run.num_parameters = rows.whole(row, "num-parameters")
    for name in rows.names(row, "clients"):
        client_of(board, name, event).is_named = True


def describe(run: Any, config: Mapping[str, object]) -> None:
    """Take from the settings what a list of runs shows; ``run`` is a RunRecord."""
    run.config = to_json(dict(config))
    for name in ("engine", "dataset", "model", "strategy", "partition"):
        value = config.get(name)
        setattr(run, name, readable(value, MAX_NAME) if isinstance(value, str) else "")
    run.alpha = as_number(config.get("alpha"))
    for name in ("num_clients", "num_rounds"):
        value = config.get(name.replace("_", "-"))
        is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53
        setattr(run, name, value if is_count else 0)


def total_seconds(run: Any) -> float:
    """Return the seconds of all starts together; a start that was killed counts up to its last event."""
    so_far = max(0.0, (run.last_ts or 0.0) - (run.start_ts or 0.0)) if run.start_ts is not None else 0.0
    return float(run.seconds_before + (run.ended_seconds or so_far))


def _partition(board: Board, event: CheckedEvent) -> None:
    board.partition, board.partition_seq = event.row, event.seq
    for name in rows.counts(event.row, "histograms"):
        client_of(board, name, event).is_named = True


def _waiting(board: Board, event: CheckedEvent) -> None:
    if board.run.state in ("running", "paused"):
        board.run.state = "running"
        board.run.reason = readable(rows.text(event.row, "reason"), 500)


def _paused(board: Board, _event: CheckedEvent) -> None:
    if board.run.state == "running":
        board.run.state, board.run.reason = "paused", ""


def _resumed(board: Board, _event: CheckedEvent) -> None:
    if board.run.state in ("running", "paused"):
        board.run.state, board.run.reason = "running", ""


def _run_ended(board: Board, event: CheckedEvent) -> None:
    run, row = board.run, event.row
    run.state = rows.text(row, "state")
    run.error = readable(rows.text(row, "error"))
    run.reason = ""
    run.ended_ts = event.ts
    run.ended_seconds = rows.number(row, "seconds")


def _privacy(board: Board, event: CheckedEvent) -> None:
    run, row = board.run, event.row
    run.privacy = to_json({key: row[key] for key in _PRIVACY if row.get(key) is not None})
    run.privacy_seq = event.seq
    run.epsilon, run.delta = rows.number(row, "epsilon"), rows.number(row, "delta")
    run.epsilon_unit = rows.text(row, "unit")
    round_of(board, event).epsilon = run.epsilon
    for name in rows.mapping(row, "by-client"):
        client_of(board, name, event)


# --- rounds


def _round_started(board: Board, event: CheckedEvent) -> None:
    record = round_of(board, event)
    record.attempt = rows.whole(event.row, "attempt", 1)
    record.started_ts = event.ts
    board.run.current_round = record.server_round
    board.run.reason = ""


def _phase_started(board: Board, event: CheckedEvent) -> None:
    record, row = round_of(board, event), event.row
    names = rows.names(row, "clients")
    record.phase, record.phase_ts, record.state = rows.text(row, "phase"), event.ts, "collecting"
    record.phase_asked, record.phase_answered, record.phase_late = len(names), 0, 0
    board.run.reason = ""
    start_s = max(0.0, event.ts - record.started_ts) if record.started_ts is not None else 0.0
    doing = _DOING.get(record.phase, "training")
    for place, name in enumerate(dict.fromkeys(names)):
        update = update_of(board, record, name, event, place)
        is_asked_again = update.asked_ts is not None
        update.asked_ts, update.start_s = event.ts, start_s
        if name:
            client = client_of(board, name, event)
            client.asked += record.phase == "train" and not is_asked_again
            show(client, record.server_round, doing)


def _capped(board: Board, event: CheckedEvent) -> None:
    round_of(board, event).capped += 1
    if name := rows.text(event.row, "client"):
        client_of(board, name, event)


def _phase_ended(board: Board, event: CheckedEvent) -> None:
    record, row = round_of(board, event), event.row
    phase = rows.text(row, "phase")
    if record.phase == phase:
        record.phase, record.state = "", "open"
    collect, aggregate = rows.seconds(row, "collect-seconds"), rows.seconds(row, "aggregate-seconds")
    metrics = rows.mapping(row, "metrics")
    if phase == "evaluate":
        record.evaluate_seconds += collect + aggregate
        _all_evaluated(board, record)
    else:
        record.collect_seconds += collect
        record.aggregate_seconds += aggregate
        record.kept_old_model = record.kept_old_model or row.get("kept-old-model") is True
        record.train_loss, record.train_accuracy = loss_of(metrics), accuracy_of(metrics)
    _note_metrics(board, "evaluate" if phase == "evaluate" else "train", record.server_round, metrics)


def _model_evaluated(board: Board, event: CheckedEvent) -> None:
    record = round_of(board, event)
    metrics = rows.mapping(event.row, "metrics")
    record.loss, record.accuracy = loss_of(metrics), accuracy_of(metrics)
    record.evaluate_seconds += rows.seconds(event.row)
    _note_metrics(board, "central", record.server_round, metrics)


def _clients_evaluated(board: Board, event: CheckedEvent) -> None:
    record = round_of(board, event)
    told = {key: rows.mapping(event.row, key) for key in ("mean", "deviation", "minimum", "maximum")}
    record.clients_evaluated = to_json({key: bounded(value) for key, value in told.items()})
    _all_evaluated(board, record)
    _note_metrics(board, "clients", record.server_round, told["mean"])


def _round_closed(board: Board, event: CheckedEvent) -> None:
    record, row = round_of(board, event), event.row
    record.is_closed, record.state, record.phase = True, "closed", ""
    record.seconds = rows.seconds(row)
    record.checkpoint_seconds = rows.seconds(row, "checkpoint-seconds")
    record.model_digest = rows.text(row, "model-digest")
    _all_evaluated(board, record)
    if record.model_digest:
        _record_model(board, record, event)


def _record_model(board: Board, record: RoundRecord, event: CheckedEvent) -> None:
    number = record.server_round
    before = board.models.get(number - 1)
    parent = before.digest if before is not None else None
    known = board.models.get(number)
    model = ModelRecord(number, event.seq, record.model_digest, parent, event.ts)
    if known is not None and known.digest == model.digest:
        model.size_bytes, model.file_digest = known.size_bytes, known.file_digest
    board.models[number] = model
    board.changed_models.add(number)


def _all_evaluated(board: Board, record: RoundRecord) -> None:
    record.is_evaluated = True
    board.newly_evaluated.add(record.server_round)


def _note_metrics(board: Board, source: str, number: int, metrics: Row) -> None:
    for name, value in bounded(metrics).items():
        board.metrics[source, name, number] = value


_APPLY: Mapping[str, Callable[[Board, CheckedEvent], None]] = {
    "run-started": _run_started,
    "partition-described": _partition,
    "run-waiting": _waiting,
    "run-paused": _paused,
    "run-resumed": _resumed,
    "round-started": _round_started,
    "phase-started": _phase_started,
    "update-received": received,
    "client-identified": identified,
    "update-accepted": accepted,
    "update-rejected": rejected,
    "update-capped": _capped,
    "update-late": late,
    "phase-ended": _phase_ended,
    "model-evaluated": _model_evaluated,
    "clients-evaluated": _clients_evaluated,
    "round-closed": _round_closed,
    "privacy-spent": _privacy,
    "run-ended": _run_ended,
}
