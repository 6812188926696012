"""What the events about clients' replies change: of an update, of its client, and of the run's counts."""

from __future__ import annotations

import json
from collections.abc import Mapping

from app.storage.checking import MAX_ADDED, MAX_METRICS, MAX_NAME, CheckedEvent, readable, to_json
from app.storage.natural import sort_key
from app.storage.records import Board, ClientRecord, RefusalRecord, RoundRecord, UpdateRecord
from app.storage.values import Row
from monitor import rows
from monitor.metrics import accuracy_of, as_number, loss_of

_TROUBLE = frozenset({"rejected", "late"})  # stays on a client until the round is over


def round_of(board: Board, event: CheckedEvent) -> RoundRecord:
    """Return the round an event is of, and note that it changed."""
    number = rows.whole(event.row, "server-round")
    record = board.rounds.get(number)
    if record is None:
        record = board.rounds[number] = RoundRecord(number)
        board.run.max_round = max(board.run.max_round, number)
    record.seq = event.seq
    board.changed_rounds.add(number)
    return record


def bounded(metrics: Row) -> dict[str, float]:
    """Return the metrics that are numbers, at most so many, under names that a database holds."""
    found: dict[str, float] = {}
    for name, value in metrics.items():
        if len(found) >= MAX_METRICS:
            break
        if (number := as_number(value)) is not None:
            found[readable(name, MAX_NAME)] = number
    return found


# --- updates


def update_of(board: Board, record: RoundRecord, name: str, event: CheckedEvent, place: int = 0) -> UpdateRecord:
    """Return a client's part in the phase an event is of, and note that it changed."""
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


def client_of(board: Board, name: str, event: CheckedEvent) -> ClientRecord:
    """Return a client by its name, and note that it changed."""
    client = board.clients.get(name)
    if client is None:
        client = board.clients[name] = ClientRecord(name, sort_key(name))
    client.seq = event.seq
    board.changed_clients[name] = client
    board.removed_clients.discard(name)
    return client


def show(client: ClientRecord, number: int, state: str) -> None:
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


def received(board: Board, event: CheckedEvent) -> None:
    """A reply came in."""
    record, row = round_of(board, event), event.row
    name = rows.text(row, "client")
    update = update_of(board, record, name, event)
    _answered(record, update)
    if update.state == "waiting":
        update.state, update.ts = "received", event.ts
    num_bytes, seconds = rows.whole(row, "num-bytes"), rows.seconds(row)
    client = client_of(board, name, event) if name else None
    if client is not None:
        client.last_seen_ts = event.ts
        client.bytes_received += num_bytes
        if update.phase == "train":
            client.num_timed += update.seconds is None
            client.train_seconds += seconds - (update.seconds or 0.0)
        show(client, record.server_round, "answered")
    update.seconds = seconds
    update.compute_seconds = rows.number(row, "compute-seconds")
    update.num_bytes = (update.num_bytes or 0) + num_bytes
    record.bytes_received += num_bytes
    board.run.bytes_received += num_bytes


def accepted(board: Board, event: CheckedEvent) -> None:
    """A reply passed every check."""
    record, row = round_of(board, event), event.row
    name = rows.text(row, "client")
    update = update_of(board, record, name, event)
    _answered(record, update)
    metrics = rows.mapping(row, "metrics")
    counted_before = update.num_examples or 0
    update.num_examples, update.norm = min(rows.whole(row, "num-examples"), MAX_ADDED), rows.number(row, "norm")
    update.loss, update.accuracy = loss_of(metrics), accuracy_of(metrics)
    kept = bounded(metrics)
    update.metrics = to_json(kept) if kept else ""
    client = client_of(board, name, event) if name else None
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
        show(client, record.server_round, "answered")


def _trained(client: ClientRecord, update: UpdateRecord) -> None:
    if update.server_round >= client.trained_round:
        client.trained_round, client.claimed_examples = update.server_round, update.num_examples
        client.trained_loss, client.trained_accuracy = update.loss, update.accuracy


def _evaluated(client: ClientRecord, update: UpdateRecord) -> None:
    if update.server_round >= client.evaluated_round:
        client.evaluated_round = update.server_round
        client.evaluated_loss, client.evaluated_accuracy = update.loss, update.accuracy


def rejected(board: Board, event: CheckedEvent) -> None:
    """A reply was refused."""
    record, row = round_of(board, event), event.row
    name, reason = rows.text(row, "client"), rows.text(row, "reason")
    detail = readable(rows.text(row, "detail"))
    update = update_of(board, record, name, event)
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
        client = client_of(board, name, event)
        client.rejected += update.phase != "evaluate"
        client.state_round, client.state = record.server_round, "rejected"


def counted(text: str, changes: Mapping[str, int]) -> str:
    """Add to counts that are kept as JSON, most frequent first; what is zero goes."""
    counts: dict[str, int] = json.loads(text)
    for reason, change in changes.items():
        counts[reason] = counts.get(reason, 0) + change
    kept = sorted(((-count, reason) for reason, count in counts.items() if count > 0))
    return to_json({reason: -count for count, reason in kept})


def late(board: Board, event: CheckedEvent) -> None:
    """A client had not answered when its phase ended."""
    record, row = round_of(board, event), event.row
    name = rows.text(row, "client")
    update = update_of(board, record, name, event)
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
        client = client_of(board, name, event)
        client.late += update.phase != "evaluate"
        client.state_round, client.state = record.server_round, "late"


# --- names


def identified(board: Board, event: CheckedEvent) -> None:
    """Give a client what this round's rows say of its node, from before anybody knew whose node it is."""
    record = round_of(board, event)
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
        client_of(board, name, event).last_seen_ts = anonymous.last_seen_ts
        show(board.clients[name], number, anonymous.state if anonymous.state_round == number else "idle")
        if _is_nobody(anonymous):
            fresh = ClientRecord(node, anonymous.sort_key, seq=event.seq)
            board.clients[node] = board.changed_clients[node] = fresh
            board.removed_clients.add(node)


def _move(board: Board, key: tuple[int, str, str], name: str, event: CheckedEvent) -> None:
    number, phase, node = key
    update = board.updates.pop(key)
    board.changed_updates.pop(key, None)
    board.removed_updates.add(key)
    credit(client_of(board, node, event), update, -1)
    target = board.updates.get((number, phase, name))
    if target is None:
        update.client = name
        target = update
    else:
        credit(client_of(board, name, event), target, -1)
        _merge(target, update)
    target.changed_seq = event.seq
    credit(client_of(board, name, event), target, 1)
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
    counts = (client.asked, client.accepted, client.rejected, client.late, client.bytes_received, client.num_timed)
    has_reported = client.trained_round >= 0 or client.evaluated_round >= 0
    return not (client.is_named or has_reported or any(counts))
