"""Takes the abandoned attempt at a round away, with all rounds after it: the later attempt wins. Its events stay.

It is rare (a run that was killed goes on), so it may read what it removes; a run that never restarts pays nothing.
"""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, and_, delete, func, select

from app.storage import rescoring
from app.storage.checking import CheckedEvent
from app.storage.records import ClientRecord, Columns, RunRecord, UpdateRecord
from app.storage.tables import CLIENTS, METRICS, MODELS, REFUSALS, ROUNDS, UPDATES
from app.storage.update_projection import counted, credit
from app.storage.upsert import upsert
from monitor import rows


def rounds_forgotten(event: CheckedEvent) -> int | None:
    """Return the first round that an event starts again, if it starts any: that one and all later ones are void."""
    if event.type == "round-started":
        return rows.whole(event.row, "server-round")
    if event.type == "run-started":
        return max(1, rows.whole(event.row, "first-round", 1))
    return None


def forget_from(connection: Connection, run_key: int, run: RunRecord, first: int) -> None:
    """Remove rounds from ``first`` on and what they counted."""
    _subtract_rounds(connection, run_key, run, first)
    _subtract_updates(connection, run_key, first)
    for table in (REFUSALS, UPDATES, METRICS, MODELS, ROUNDS):
        connection.execute(delete(table).where(table.c.run_key == run_key, table.c.server_round >= first))
    highest = connection.execute(select(func.max(ROUNDS.c.server_round)).where(ROUNDS.c.run_key == run_key)).scalar()
    run.max_round = -1 if highest is None else highest
    run.current_round = min(run.current_round, first - 1)
    rescoring.rescore(connection, run_key, run)


def _subtract_rounds(connection: Connection, run_key: int, run: RunRecord, first: int) -> None:
    table = ROUNDS.c
    query = select(table.accepted, table.rejected, table.late, table.bytes_received, table.rejections).where(
        table.run_key == run_key, table.server_round >= first
    )
    for row in connection.execute(query):
        run.updates_accepted -= row.accepted
        run.updates_rejected -= row.rejected
        run.updates_late -= row.late
        run.bytes_received -= row.bytes_received
        run.rejections = counted(run.rejections, {key: -count for key, count in json.loads(row.rejections).items()})


def _subtract_updates(connection: Connection, run_key: int, first: int) -> None:
    """Take the abandoned updates off their clients' counts, and find what those clients reported before."""
    table = UPDATES.c
    query = select(*(table[name] for name in Columns.names(UpdateRecord))).where(
        table.run_key == run_key, table.server_round >= first
    )
    gone = [UpdateRecord(*row) for row in connection.execute(query)]
    if not gone:
        return
    columns = [CLIENTS.c[name] for name in Columns.names(ClientRecord)]
    loaded = connection.execute(select(*columns).where(CLIENTS.c.run_key == run_key))
    clients = {record.client: record for record in (ClientRecord(*row) for row in loaded)}
    touched: dict[str, ClientRecord] = {}
    for record in gone:
        if (client := clients.get(record.client)) is not None:
            credit(client, record, -1)
            touched[client.client] = client
    for client in touched.values():
        _reset(client, first)
    for row in _last_reports(connection, run_key, first):
        if (known := touched.get(row.client)) is not None:
            _restore(known, row)
    left = _with_updates(connection, run_key, first)
    removed = [name for name, client in touched.items() if not client.is_named and name not in left]
    for name in removed:
        del touched[name]
        connection.execute(delete(CLIENTS).where(CLIENTS.c.run_key == run_key, CLIENTS.c.client == name))
    upsert(connection, CLIENTS, [{"run_key": run_key, **Columns.values(client)} for client in touched.values()])


def _reset(client: ClientRecord, first: int) -> None:
    if client.state_round >= first:
        client.state_round, client.state = -1, "idle"
    if client.trained_round >= first:
        client.trained_round, client.claimed_examples = -1, None
        client.trained_loss = client.trained_accuracy = None
    if client.evaluated_round >= first:
        client.evaluated_round = -1
        client.evaluated_loss = client.evaluated_accuracy = None


def _restore(client: ClientRecord, row: Any) -> None:
    if row.phase == "train" and client.trained_round < row.server_round:
        client.trained_round, client.claimed_examples = row.server_round, row.num_examples
        client.trained_loss, client.trained_accuracy = row.loss, row.accuracy
    elif row.phase == "evaluate" and client.evaluated_round < row.server_round:
        client.evaluated_round = row.server_round
        client.evaluated_loss, client.evaluated_accuracy = row.loss, row.accuracy


def _last_reports(connection: Connection, run_key: int, first: int) -> Any:
    """Return each client's last accepted update of each phase before ``first``."""
    table = UPDATES.c
    before = and_(table.run_key == run_key, table.server_round < first, table.state == "accepted")
    last = (
        select(table.client, table.phase, func.max(table.server_round).label("server_round"))
        .where(before)
        .group_by(table.client, table.phase)
        .subquery()
    )
    is_last = and_(
        table.client == last.c.client, table.phase == last.c.phase, table.server_round == last.c.server_round
    )
    columns = (table.client, table.phase, table.server_round, table.num_examples, table.loss, table.accuracy)
    return connection.execute(select(*columns).select_from(UPDATES.join(last, is_last)).where(before))


def _with_updates(connection: Connection, run_key: int, first: int) -> set[str]:
    query = select(UPDATES.c.client).where(UPDATES.c.run_key == run_key, UPDATES.c.server_round < first).distinct()
    return set(connection.execute(query).scalars())
