"""Writes a run's own row: made by a person or by the first events, and moved on by whoever steers it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from sqlalchemy import Connection, insert, select, update

from app.storage.checking import readable, require_name
from app.storage.projection import TERMINAL, describe
from app.storage.records import Columns, RunRecord
from app.storage.run_queries import run_key_of
from app.storage.tables import RUNS
from app.storage.values import RunSource, Scalar
from app.storage.views import DesiredState, RunState
from shared.errors import Conflict, StoreError

_MAX_PATH = 4_096


def insert_run(
    connection: Connection,
    run_id: str,
    config: Mapping[str, Scalar],
    *,
    name: str,
    origin: str,
    run_dir: str,
    now: float,
) -> int:
    """Make a queued run and return its number.

    Raises:
        Conflict: There is a run of this name.
        BadEvent: The run's id is not usable.
    """
    require_name("run", run_id)
    if connection.execute(select(RUNS.c.id).where(RUNS.c.run_id == run_id)).first() is not None:
        raise Conflict(f"there is a run {run_id} already")
    record = RunRecord(updated_ts=now)
    describe(record, config)
    values = {
        **Columns.values(record),
        "run_id": run_id,
        "name": readable(name, 200),
        "origin": origin,
        "run_dir": readable(run_dir, _MAX_PATH),
        "created_ts": now,
    }
    key: int = connection.execute(insert(RUNS).values(**values)).inserted_primary_key[0]  # type: ignore[index] # one row
    return key


def reported_run(connection: Connection, run_id: str, source: RunSource, first_ts: float) -> tuple[int, int, bool]:
    """Return the number, the last event and whether it is new, of a run that reports; note which process it is."""
    row = connection.execute(select(RUNS.c.id, RUNS.c.last_seq).where(RUNS.c.run_id == run_id)).first()
    is_new = row is None
    if row is None:
        key = insert_run(connection, run_id, {}, name="", origin=source.origin, run_dir=source.run_dir, now=first_ts)
        last_seq = 0
    else:
        key, last_seq = row
    told: dict[str, Any] = {
        "pid": source.pid,
        "create_time": source.create_time,
        "host": readable(source.host, 200) or None,
        "run_dir": readable(source.run_dir, _MAX_PATH) or None,
    }
    told = {name: value for name, value in told.items() if value is not None}
    if told and source.origin != "import":
        changed = [RUNS.c[name].is_distinct_from(value) for name, value in told.items()]
        condition = changed[0]
        for other in changed[1:]:
            condition = condition | other
        connection.execute(update(RUNS).where(RUNS.c.id == key, condition).values(**told))
    return key, last_seq, is_new


def change_run(
    connection: Connection,
    run_id: str,
    *,
    state: str | None,
    desired_state: str | None,
    reason: str | None,
    error: str | None,
    pid: int | None,
    create_time: float | None,
    host: str | None,
    run_dir: str | None,
    now: float,
) -> None:
    """Change what whoever steers a run may change.

    Raises:
        NotFound: There is no such run.
        StoreError: There is no such state.
    """
    key = run_key_of(connection, run_id)
    if state is not None and state not in get_args(RunState):
        raise StoreError(f"{state!r} is no state of a run")
    if desired_state is not None and desired_state not in get_args(DesiredState):
        raise StoreError(f"{desired_state!r} is not what a run can be asked for")
    values: dict[str, Any] = {"state": state, "desired_state": desired_state, "pid": pid, "create_time": create_time}
    for name, text, limit in (
        ("reason", reason, 500),
        ("error", error, 2_000),
        ("host", host, 200),
        ("run_dir", run_dir, _MAX_PATH),
    ):
        values[name] = None if text is None else readable(text, limit)
    changes = {name: value for name, value in values.items() if value is not None}
    if not changes:
        return
    if state is not None:
        changes.setdefault("reason", "")
        changes["ended_ts"] = now if state in TERMINAL else None
    connection.execute(update(RUNS).where(RUNS.c.id == key).values(**changes, updated_ts=now))
