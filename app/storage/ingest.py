"""One call of events into the tables: what the batch needs is loaded, projected, and written, in one transaction."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection, Table, and_, delete, exists, insert, select, tuple_, update

from app.storage import rescoring, scoring
from app.storage.checking import CheckedEvent, to_json
from app.storage.forgetting import forget_from, rounds_forgotten
from app.storage.projection import project
from app.storage.records import (
    Board,
    ClientRecord,
    Columns,
    ModelRecord,
    RoundRecord,
    RunRecord,
    UpdateRecord,
)
from app.storage.tables import (
    CLIENTS,
    DATASETS,
    EVENTS,
    METRICS,
    MODELS,
    PARTITIONS,
    REFUSALS,
    ROUNDS,
    RUNS,
    UPDATES,
)
from app.storage.upsert import upsert
from monitor import rows

_MOST_PARAMETERS = 500  # names in one IN (...): SQLite takes 32,766 parameters, but long statements are slow to parse

T = TypeVar("T")


def write_events(connection: Connection, run_key: int, events: Sequence[CheckedEvent]) -> None:
    """Append events and project them; they are new, and ascend by ``seq``."""
    connection.execute(
        insert(EVENTS),
        [
            {"run_key": run_key, "seq": event.seq, "ts": event.ts, "type": event.type, "data": event.data}
            for event in events
        ],
    )
    run = load_run(connection, run_key)
    before = Columns.values(run)
    for first, part in _parts(run, events):
        if first is not None:
            forget_from(connection, run_key, run, first)
        _project_part(connection, run_key, run, part)
    after = Columns.values(run)
    changes = {name: value for name, value in after.items() if value != before[name]}
    if changes:
        connection.execute(update(RUNS).where(RUNS.c.id == run_key).values(**changes))


def load_run(connection: Connection, run_key: int) -> RunRecord:
    """Load what events change of a run."""
    names = Columns.names(RunRecord)
    return RunRecord(*connection.execute(select(*(RUNS.c[name] for name in names)).where(RUNS.c.id == run_key)).one())


def _parts(run: RunRecord, events: Sequence[CheckedEvent]) -> Iterator[tuple[int | None, list[CheckedEvent]]]:
    """Split a batch before each event that starts a known round again; most batches are one part."""
    part: list[CheckedEvent] = []
    first: int | None = None
    highest = run.max_round
    for event in events:
        forgotten = rounds_forgotten(event)
        if forgotten is not None and forgotten <= highest:
            if part:
                yield first, part
            part, first, highest = [], forgotten, forgotten - 1
        part.append(event)
        highest = max(highest, rows.whole(event.row, "server-round", -1))
    if part:
        yield first, part


def _project_part(connection: Connection, run_key: int, run: RunRecord, events: Sequence[CheckedEvent]) -> None:
    board = _load(connection, run_key, run, events)
    project(board, events)
    _write_updates(connection, run_key, board)
    _spread(connection, run_key, board)
    _score(connection, run_key, board)
    _write(connection, run_key, board)


# --- loading


def _load(connection: Connection, run_key: int, run: RunRecord, events: Sequence[CheckedEvent]) -> Board:
    board = Board(run=run)
    rounds: set[int] = set()
    closed: set[int] = set()
    wanted: dict[tuple[int, str], set[str]] = {}  # clients by round and phase
    clients: set[str] = set()
    nodes: dict[int, set[str]] = {}  # whose rows may be renamed, by round
    for event in events:
        row, kind = event.row, event.type
        number = rows.whole(row, "server-round", -1)
        if number >= 0:
            rounds.add(number)
        names: Iterable[str] = ()
        if kind in ("phase-started", "run-started"):
            names = rows.names(row, "clients")
        elif kind in ("update-received", "update-accepted", "update-rejected", "update-late", "update-capped"):
            names = (rows.text(row, "client"),)
        elif kind == "client-identified":
            names = (f"node-{rows.text(row, 'node-id')}", rows.text(row, "client"))
            nodes.setdefault(number, set()).update(names)
        elif kind == "partition-described":
            names = rows.counts(row, "histograms")
        elif kind == "privacy-spent":
            names = rows.mapping(row, "by-client")
        elif kind == "round-closed":
            closed.update((number, number - 1))
        clients.update(names)
        if "phase" in row and names:
            wanted.setdefault((number, rows.text(row, "phase")), set()).update(names)
    if run.max_round >= 0:
        _load_rounds(connection, run_key, board, {number for number in rounds if number <= run.max_round})
        _load_updates(connection, run_key, board, wanted, nodes)
    _load_clients(connection, run_key, board, clients)
    if closed:
        names_ = Columns.names(ModelRecord)
        query = select(*(MODELS.c[name] for name in names_)).where(
            MODELS.c.run_key == run_key, MODELS.c.server_round.in_(closed)
        )
        board.models = {record.server_round: record for record in _records(ModelRecord, connection.execute(query))}
    return board


def _load_rounds(connection: Connection, run_key: int, board: Board, numbers: set[int]) -> None:
    columns = [ROUNDS.c[name] for name in Columns.names(RoundRecord)]
    for some in _chunks(sorted(numbers)):
        query = select(*columns).where(ROUNDS.c.run_key == run_key, ROUNDS.c.server_round.in_(some))
        for record in _records(RoundRecord, connection.execute(query)):
            board.rounds[record.server_round] = record
            if record.is_closed:
                board.closed_before.add(record.server_round)


def _load_updates(
    connection: Connection,
    run_key: int,
    board: Board,
    wanted: dict[tuple[int, str], set[str]],
    nodes: dict[int, set[str]],
) -> None:
    table = UPDATES.c
    conditions = [
        and_(table.server_round == number, table.phase == phase, table.client.in_(some))
        for (number, phase), names in wanted.items()
        if number in board.rounds
        for some in _chunks(sorted(names))
    ]
    conditions += [
        and_(table.server_round == number, table.client.in_(some))
        for number, names in nodes.items()
        if number in board.rounds
        for some in _chunks(sorted(names))
    ]
    columns = [table[name] for name in Columns.names(UpdateRecord)]
    for condition in conditions:
        query = select(*columns).where(table.run_key == run_key, condition)
        for record in _records(UpdateRecord, connection.execute(query)):
            board.updates[record.server_round, record.phase, record.client] = record
            board.phases.setdefault(record.server_round, set()).add(record.phase)


def _load_clients(connection: Connection, run_key: int, board: Board, names: set[str]) -> None:
    columns = [CLIENTS.c[name] for name in Columns.names(ClientRecord)]
    for some in _chunks(sorted(names)):
        query = select(*columns).where(CLIENTS.c.run_key == run_key, CLIENTS.c.client.in_(some))
        for record in _records(ClientRecord, connection.execute(query)):
            board.clients[record.client] = record


def _records(kind: type[T], result: Iterable[Any]) -> list[T]:
    return [kind(*row) for row in result]


def _chunks(values: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(values), _MOST_PARAMETERS):
        yield values[start : start + _MOST_PARAMETERS]


# --- figures that follow from several rows


def _spread(connection: Connection, run_key: int, board: Board) -> None:
    """Take the spread over clients of each round that all its clients have evaluated."""
    for number in sorted(board.newly_evaluated):
        record = board.rounds[number]
        if not record.is_evaluated:
            continue
        replies: Sequence[Any] = ()
        if record.evaluations_accepted:
            query = select(UPDATES.c.loss, UPDATES.c.accuracy).where(
                UPDATES.c.run_key == run_key,
                UPDATES.c.server_round == number,
                UPDATES.c.phase == "evaluate",
                UPDATES.c.state == "accepted",
            )
            replies = connection.execute(query).all()
        told = json.loads(record.clients_evaluated) if record.clients_evaluated else {}
        loss, accuracy = scoring.spreads(replies, told)
        record.client_loss = to_json(loss) if loss else ""
        record.client_accuracy = to_json(accuracy) if accuracy else ""


def _score(connection: Connection, run_key: int, board: Board) -> None:
    """Bring the run's figures up to date: by the new closed rounds, or anew where an older one changed."""
    run = board.run
    closed = [board.rounds[number] for number in sorted(board.changed_rounds) if board.rounds[number].is_closed]
    if not closed:
        return
    if board.closed_before & board.changed_rounds or closed[0].server_round < run.last_closed:
        _write_rounds(connection, run_key, board)
        rescoring.rescore(connection, run_key, run)
        return
    for record in closed:
        scoring.add_round(run, scoring.Score.of(record))


# --- writing


def _write_updates(connection: Connection, run_key: int, board: Board) -> None:
    for some in _chunks(sorted(board.removed_updates)):
        key = tuple_(UPDATES.c.server_round, UPDATES.c.phase, UPDATES.c.client)
        connection.execute(delete(UPDATES).where(UPDATES.c.run_key == run_key, key.in_(some)))
    _upsert(connection, UPDATES, run_key, board.changed_updates.values())


def _write_rounds(connection: Connection, run_key: int, board: Board) -> None:
    _upsert(connection, ROUNDS, run_key, (board.rounds[number] for number in sorted(board.changed_rounds)))


def _write(connection: Connection, run_key: int, board: Board) -> None:
    _write_rounds(connection, run_key, board)
    _upsert(connection, CLIENTS, run_key, board.changed_clients.values())
    if board.removed_clients:
        is_left = exists().where(UPDATES.c.run_key == CLIENTS.c.run_key, UPDATES.c.client == CLIENTS.c.client)
        gone = CLIENTS.c.client.in_(sorted(board.removed_clients)) & ~is_left
        connection.execute(delete(CLIENTS).where(CLIENTS.c.run_key == run_key, gone))
    for number, node, client in board.renamed:
        connection.execute(
            update(REFUSALS)
            .where(REFUSALS.c.run_key == run_key, REFUSALS.c.server_round == number, REFUSALS.c.client == node)
            .values(client=client)
        )
    if board.refusals:
        connection.execute(insert(REFUSALS), [{"run_key": run_key, **Columns.values(item)} for item in board.refusals])
    if board.metrics:
        found = [
            {"run_key": run_key, "source": source, "name": name, "server_round": number, "value": value}
            for (source, name, number), value in board.metrics.items()
        ]
        upsert(connection, METRICS, found)
    for number in sorted(board.changed_models):
        values = {"run_key": run_key, **Columns.values(board.models[number])}
        upsert(connection, MODELS, [values], index=("run_key", "server_round"))
    if board.partition is not None:
        _write_partition(connection, run_key, board)


def _write_partition(connection: Connection, run_key: int, board: Board) -> None:
    row = board.partition or {}
    histograms = rows.counts(row, "histograms")
    described = {
        "run_key": run_key,
        "seq": board.partition_seq,
        "class_names": to_json(rows.names(row, "class-names")),
        "num_clients": len(histograms),
    }
    upsert(connection, DATASETS, [described])
    connection.execute(delete(PARTITIONS).where(PARTITIONS.c.run_key == run_key))
    if histograms:
        values = [
            {
                "run_key": run_key,
                "client": client,
                "place": place,
                "num_examples": sum(counts),
                "histogram": to_json(counts),
            }
            for place, (client, counts) in enumerate(histograms.items())
        ]
        connection.execute(insert(PARTITIONS), values)


def _upsert(connection: Connection, table: Table, run_key: int, records: Iterable[Any]) -> None:
    upsert(connection, table, [{"run_key": run_key, **Columns.values(record)} for record in records])
