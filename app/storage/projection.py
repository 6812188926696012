"""From events to rows: what each event changes. Pure, and as dear as the batch is long, however long the run is.

The counts are those of ``monitor.series.read_series``, which a test holds it to: "updates" are replies of every phase
but the evaluation; a reply that was accepted stays accepted when a copy of it is refused; the later attempt at a round
wins (``app.storage.forgetting`` takes the abandoned one away before its successor's first event comes here).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from app.storage.checking import MAX_ADDED, MAX_METRICS, MAX_NAME, CheckedEvent, readable, to_json
from app.storage.natural import sort_key
from app.storage.records import Board, ClientRecord, ModelRecord, RefusalRecord, RoundRecord, UpdateRecord
from app.storage.values import Row
from monitor import rows
from monitor.metrics import accuracy_of, as_number, loss_of

TERMINAL = frozenset({"completed", "stopped", "failed", "interrupted"})
_TROUBLE = frozenset({"rejected", "late"})  # stays on a client until the round is over
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
        _client(board, name, event).is_named = True


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
        _client(board, name, event).is_named = True


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
    _round(board, event).epsilon = run.epsilon
    for name in rows.mapping(row, "by-client"):
        _client(board, name, event)


# --- rounds


def _round(board: Board, event: CheckedEvent) -> RoundRecord:
    number = rows.whole(event.row, "server-round")
    record = board.rounds.get(number)
    if record is None:
        record = board.rounds[number] = RoundRecord(number)
        board.run.max_round = max(board.run.max_round, number)
    record.seq = event.seq
    board.changed_rounds.add(number)
    return record


def _round_started(board: Board, event: CheckedEvent) -> None:
    record = _round(board, event)
    record.attempt = rows.whole(event.row, "attempt", 1)
    record.started_ts = event.ts
    board.run.current_round = record.server_round
    board.run.reason = ""


def _phase_started(board: Board, event: CheckedEvent) -> None:
    record, row = _round(board, event), event.row
    names = rows.names(row, "clients")
    record.phase, record.phase_ts, record.state = rows.text(row, "phase"), event.ts, "collecting"
    record.phase_asked, record.phase_answered, record.phase_late = len(names), 0, 0
    board.run.reason = ""
    start_s = max(0.0, event.ts - record.started_ts) if record.started_ts is not None else 0.0
    doing = _DOING.get(record.phase, "training")
    for place, name in enumerate(dict.fromkeys(names)):
        update = _update(board, record, name, event, place)
        is_asked_again = update.asked_ts is not None
        update.asked_ts, update.start_s = event.ts, start_s
        if name:
            client = _client(board, name, event)
            client.asked += record.phase == "train" and not is_asked_again
            _show(client, record.server_round, doing)


def _capped(board: Board, event: CheckedEvent) -> None:
    _round(board, event).capped += 1
    if name := rows.text(event.row, "client"):
        _client(board, name, event)


def _phase_ended(board: Board, event: CheckedEvent) -> None:
    record, row = _round(board, event), event.row
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
    record = _round(board, event)
    metrics = rows.mapping(event.row, "metrics")
    record.loss, record.accuracy = loss_of(metrics), accuracy_of(metrics)
    record.evaluate_seconds += rows.seconds(event.row)
    _note_metrics(board, "central", record.server_round, metrics)


def _clients_evaluated(board: Board, event: CheckedEvent) -> None:
    record = _round(board, event)
    told = {key: rows.mapping(event.row, key) for key in ("mean", "deviation", "minimum", "maximum")}
    record.clients_evaluated = to_json({key: _bounded(value) for key, value in told.items()})
    _all_evaluated(board, record)
    _note_metrics(board, "clients", record.server_round, told["mean"])


def _round_closed(board: Board, event: CheckedEvent) -> None:
    record, row = _round(board, event), event.row
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
    for name, value in _bounded(metrics).items():
        board.metrics[source, name, number] = value


def _bounded(metrics: Row) -> dict[str, float]:
    """Return the metrics that are numbers, at most so many, under names that a database holds."""
    found: dict[str, float] = {}
    for name, value in metrics.items():
        if len(found) >= MAX_METRICS:
            break
        if (number := as_number(value)) is not None:
            found[readable(name, MAX_NAME)] = number
    return found


# --- updates


def _update(board: Board, record: RoundRecord, name: str, event: CheckedEvent, place: int = 0) -> UpdateRecord:
    phase = rows.text(event.row, "phase")
    key = record.server_round, phase, name
    update = board.updates.get(key)
    if update is None:
        update = UpdateRecord(record.server_round, phase, name, event.seq, place, record.attempt, event.ts)
        board.updates[key] = update
        board.phases.setdefault(record.server_round, set()).add(phase)
    update.changed_seq = event.seq
    board.changed_updates[key] = update
    return update


def _client(board: Board, name: str, event: CheckedEvent) -> ClientRecord:
    client = board.clients.get(name)
    if client is None:
        client = board.clients[name] = ClientRecord(name, sort_key(name))
    client.seq = event.seq
    board.changed_clients[name] = client
    board.removed_clients.discard(name)
    return client


def _show(client: ClientRecord, number: int, state: str) -> None:
    """Say what a client does in a round; that it was refused or late stays to be seen until the round is over."""
    if client.state_round != number or client.state not in _TROUBLE:
        client.state_round, client.state = number, state


def _answered(record: RoundRecord, update: UpdateRecord) -> None:
    if update.state == "waiting" and update.phase == record.phase and update.asked_ts is not None:
        record.phase_answered += 1
        _maybe_aggregating(record)


def _maybe_aggregating(record: RoundRecord) -> None:
    if record.phase_answered + record.phase_late >= record.phase_asked:
        record.state = "aggregating"


def _received(board: Board, event: CheckedEvent) -> None:
    record, row = _round(board, event), event.row
    name = rows.text(row, "client")
    update = _update(board, record, name, event)
    _answered(record, update)
    if update.state == "waiting":
        update.state, update.ts = "received", event.ts
    num_bytes, seconds = rows.whole(row, "num-bytes"), rows.seconds(row)
    client = _client(board, name, event) if name else None
    if client is not None:
        client.last_seen_ts = event.ts
        client.bytes_received += num_bytes
        if update.phase == "train":
            client.num_timed += update.seconds is None
            client.train_seconds += seconds - (update.seconds or 0.0)
        _show(client, record.server_round, "answered")
    update.seconds = seconds
    update.compute_seconds = rows.number(row, "compute-seconds")
    update.num_bytes = (update.num_bytes or 0) + num_bytes
    record.bytes_received += num_bytes
    board.run.bytes_received += num_bytes


def _accepted(board: Board, event: CheckedEvent) -> None:
    record, row = _round(board, event), event.row
    name = rows.text(row, "client")
    update = _update(board, record, name, event)
    _answered(record, update)
    metrics = rows.mapping(row, "metrics")
    counted_before = update.num_examples or 0
    update.num_examples, update.norm = min(rows.whole(row, "num-examples"), MAX_ADDED), rows.number(row, "norm")
    update.loss, update.accuracy = loss_of(metrics), accuracy_of(metrics)
    kept = _bounded(metrics)
    update.metrics = to_json(kept) if kept else ""
    client = _client(board, name, event) if name else None
    is_new = update.state != "accepted"
    update.state, update.ts, update.reason, update.detail = "accepted", event.ts, "", ""
    if update.phase == "train":
        record.accepted += is_new
        record.num_examples += update.num_examples - counted_before
        board.run.updates_accepted += is_new
        if client is not None:
            client.accepted += is_new
            _trained(client, update)
    elif update.phase == "evaluate":
        record.evaluations_accepted += is_new
        board.newly_evaluated.add(record.server_round)
        if client is not None:
            _evaluated(client, update)
    if client is not None:
        _show(client, record.server_round, "answered")


def _trained(client: ClientRecord, update: UpdateRecord) -> None:
    if update.server_round >= client.trained_round:
        client.trained_round, client.claimed_examples = update.server_round, update.num_examples
        client.trained_loss, client.trained_accuracy = update.loss, update.accuracy


def _evaluated(client: ClientRecord, update: UpdateRecord) -> None:
    if update.server_round >= client.evaluated_round:
        client.evaluated_round = update.server_round
        client.evaluated_loss, client.evaluated_accuracy = update.loss, update.accuracy


def _rejected(board: Board, event: CheckedEvent) -> None:
    record, row = _round(board, event), event.row
    name, reason = rows.text(row, "client"), rows.text(row, "reason")
    detail = readable(rows.text(row, "detail"))
    update = _update(board, record, name, event)
    _answered(record, update)
    update.times_rejected += 1
    if update.state != "accepted":
        update.state, update.ts, update.reason, update.detail = "rejected", event.ts, reason, detail
    board.refusals.append(
        RefusalRecord(event.seq, record.server_round, record.attempt, update.phase, name, event.ts, reason, detail)
    )
    if update.phase == "evaluate":
        record.evaluations_rejected += 1
    else:
        record.rejected += 1
        board.run.updates_rejected += 1
        record.rejections = counted(record.rejections, {reason: 1})
        board.run.rejections = counted(board.run.rejections, {reason: 1})
    if name:
        client = _client(board, name, event)
        client.rejected += update.phase != "evaluate"
        client.state_round, client.state = record.server_round, "rejected"


def counted(text: str, changes: Mapping[str, int]) -> str:
    """Add to counts that are kept as JSON, most frequent first; what is zero goes."""
    counts: dict[str, int] = json.loads(text)
    for reason, change in changes.items():
        counts[reason] = counts.get(reason, 0) + change
    kept = sorted(((-count, reason) for reason, count in counts.items() if count > 0))
    return to_json({reason: -count for count, reason in kept})


def _late(board: Board, event: CheckedEvent) -> None:
    record, row = _round(board, event), event.row
    name = rows.text(row, "client")
    update = _update(board, record, name, event)
    if update.state == "waiting" and update.phase == record.phase:
        record.phase_late += 1
        _maybe_aggregating(record)
    update.times_late += 1
    if update.state in ("waiting", "received", "late"):
        update.state, update.ts = "late", event.ts
    if update.phase == "evaluate":
        record.evaluations_late += 1
    else:
        record.late += 1
        board.run.updates_late += 1
    if name:
        client = _client(board, name, event)
        client.late += update.phase != "evaluate"
        client.state_round, client.state = record.server_round, "late"


# --- names


def _identified(board: Board, event: CheckedEvent) -> None:
    """Give a client what this round's rows say of its node, from before anybody knew whose node it is."""
    record = _round(board, event)
    number, name = record.server_round, rows.text(event.row, "client")
    node = f"node-{rows.text(event.row, 'node-id')}"
    if not name or node == name:
        return
    board.renamed.append((number, node, name))
    for refusal in board.refusals:
        if refusal.server_round == number and refusal.client == node:
            refusal.client = name
    moved = [key for phase in board.phases.get(number, ()) if (key := (number, phase, node)) in board.updates]
    for key in moved:
        _move(board, key, name, event)
    anonymous = board.clients.get(node)
    if moved and anonymous is not None:
        _client(board, name, event).last_seen_ts = anonymous.last_seen_ts
        _show(board.clients[name], number, anonymous.state if anonymous.state_round == number else "idle")
        if _is_nobody(anonymous):
            del board.clients[node]
            board.changed_clients.pop(node, None)
            board.removed_clients.add(node)


def _move(board: Board, key: tuple[int, str, str], name: str, event: CheckedEvent) -> None:
    number, phase, node = key
    update = board.updates.pop(key)
    board.changed_updates.pop(key, None)
    board.removed_updates.add(key)
    credit(_client(board, node, event), update, -1)
    target = board.updates.get((number, phase, name))
    if target is None:
        update.client = name
        target = update
    else:
        credit(_client(board, name, event), target, -1)
        _merge(target, update)
    target.changed_seq = event.seq
    credit(_client(board, name, event), target, 1)
    board.updates[number, phase, name] = board.changed_updates[number, phase, name] = target


def _merge(target: UpdateRecord, other: UpdateRecord) -> None:
    if target.asked_ts is None:
        target.asked_ts, target.start_s = other.asked_ts, other.start_s
    if other.seconds is not None:
        target.seconds, target.compute_seconds = other.seconds, other.compute_seconds
    if other.num_bytes is not None:
        target.num_bytes = (target.num_bytes or 0) + other.num_bytes
    target.times_rejected += other.times_rejected
    target.times_late += other.times_late
    if target.state == "waiting":
        target.state, target.ts, target.reason, target.detail = other.state, other.ts, other.reason, other.detail


def credit(client: ClientRecord, update: UpdateRecord, sign: int) -> None:
    """Add an update to its client's counts, or take it away."""
    is_training = update.phase == "train"
    client.asked += sign * (is_training and update.asked_ts is not None)
    client.accepted += sign * (is_training and update.state == "accepted")
    client.bytes_received += sign * (update.num_bytes or 0)
    if update.phase != "evaluate":
        client.rejected += sign * update.times_rejected
        client.late += sign * update.times_late
    if is_training and update.seconds is not None:
        client.num_timed += sign
        client.train_seconds += sign * update.seconds


def _is_nobody(client: ClientRecord) -> bool:
    counts = (client.asked, client.accepted, client.rejected, client.late, client.bytes_received)
    return not client.is_named and not any(counts)


_APPLY: Mapping[str, Callable[[Board, CheckedEvent], None]] = {
    "run-started": _run_started,
    "partition-described": _partition,
    "run-waiting": _waiting,
    "run-paused": _paused,
    "run-resumed": _resumed,
    "round-started": _round_started,
    "phase-started": _phase_started,
    "update-received": _received,
    "client-identified": _identified,
    "update-accepted": _accepted,
    "update-rejected": _rejected,
    "update-capped": _capped,
    "update-late": _late,
    "phase-ended": _phase_ended,
    "model-evaluated": _model_evaluated,
    "clients-evaluated": _clients_evaluated,
    "round-closed": _round_closed,
    "privacy-spent": _privacy,
    "run-ended": _run_ended,
}
