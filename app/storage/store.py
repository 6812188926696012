"""The run store: one object that answers every question about runs and takes in all that happens.

It hands on to small modules: a question is one transaction that sees one state of the database, a change is one
transaction or nothing. Methods may be called from any thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

from sqlalchemy import select

from app.storage import (
    key_values,
    model_queries,
    models,
    nodes,
    run_queries,
    run_writing,
)
from app.storage.checking import check_rows
from app.storage.database import Database
from app.storage.ingest import write_events
from app.storage.objects import ObjectStore
from app.storage.reader import Reader
from app.storage.row_views import event_view
from app.storage.tables import EVENTS, RUNS
from app.storage.values import Ingested, NodeSample, Row, RunSource, Scalar
from app.storage.views import (
    ModelView,
    RunView,
)
from shared.errors import SeqGap
from shared.events import JsonValue


class Store(Reader):
    """Runs, their events, and what follows from them."""

    @classmethod
    def open(cls, url: str, objects_url: str, *, now: Callable[[], float] = time.time) -> Self:
        """Open a store, making or migrating its tables.

        Args:
            url: ``sqlite:///FILE`` or ``postgresql+psycopg://...``.
            objects_url: Where models are kept, as fsspec names places: a folder, or ``s3://BUCKET/...``.
            now: Unix seconds.

        Raises:
            StoreError: It cannot be opened, or is of a newer version.
        """
        return cls(Database(url), ObjectStore(objects_url), now)

    def close(self) -> None:
        """Close every connection."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- writing

    def create_run(
        self, run_id: str, config: Mapping[str, Scalar], *, name: str = "", origin: str = "dashboard", run_dir: str = ""
    ) -> RunView:
        """Make a queued run.

        Raises:
            Conflict: There is a run of this name.
        """
        now = self._now()
        with self._database.write() as connection:
            run_writing.insert_run(connection, run_id, config, name=name, origin=origin, run_dir=run_dir, now=now)
            return run_queries.one_run(connection, run_id, now)[1]

    def set_run(
        self,
        run_id: str,
        *,
        state: str | None = None,
        desired_state: str | None = None,
        reason: str | None = None,
        error: str | None = None,
        pid: int | None = None,
        create_time: float | None = None,
        host: str | None = None,
        run_dir: str | None = None,
    ) -> RunView:
        """Change what whoever steers a run may change; what is None stays. A new state clears the old reason.

        Raises:
            NotFound: There is no such run.
        """
        now = self._now()
        with self._database.write() as connection:
            run_writing.change_run(
                connection, run_id, state=state, desired_state=desired_state, reason=reason, error=error, pid=pid,
                create_time=create_time, host=host, run_dir=run_dir, now=now,
            )  # fmt: skip
            return run_queries.one_run(connection, run_id, now)[1]

    def ingest(self, run: str, rows: Sequence[Row], source: RunSource) -> Ingested:
        """Take in events of one run, all or none; those that are known already count as taken.

        Raises:
            BadEvent: One is not of the form that events have; nothing is written.
            SeqGap: Events between the last known one and the first of these are missing; nothing is written.
        """
        events = check_rows(run, rows)
        with self._database.write() as connection:
            first_ts = events[0].ts if events else self._now()
            key, last_seq, is_new = run_writing.reported_run(connection, run, source, first_ts)
            if events and events[0].seq > last_seq + 1:
                raise SeqGap(run, last_seq)
            fresh = []
            seen = last_seq
            for event in events:
                if event.seq > seen:
                    fresh.append(event)
                    seen = event.seq
            if not fresh:
                return Ingested(last_seq=last_seq, is_new_run=is_new)
            write_events(connection, key, fresh)
            table = EVENTS.c
            query = (
                select(table.id, table.seq, table.ts, RUNS.c.run_id, table.type, table.data)
                .select_from(EVENTS.join(RUNS, RUNS.c.id == table.run_key))
                .where(table.run_key == key, table.seq > last_seq)
                .order_by(table.seq)
            )
            views = tuple(event_view(row) for row in connection.execute(query))
        return Ingested(last_seq=seen, events=views, is_new_run=is_new)

    def add_samples(self, run: str | None, samples: Sequence[NodeSample]) -> None:
        """Keep samples of processes that train; their history is thinned as it ages.

        Raises:
            BadEvent: One is not what it should be; nothing is written.
        """
        with self._database.write() as connection:
            nodes.add_samples(connection, run, samples, self._now())

    def put_model(self, run: str, server_round: int, path: Path) -> ModelView:
        """Copy the safetensors file of a round's global model into the object store.

        Raises:
            NotFound: There is no such run.
            StoreError: It is not a model's file, or not that of the model this round ended with.
        """
        stored = self._objects.put(path)
        with self._database.write() as connection:
            key = run_queries.run_key_of(connection, run)
            models.attach_file(connection, key, server_round, stored, self._now())
            return model_queries.model_of_round(connection, key, server_round)

    def set_setting(self, key: str, value: JsonValue) -> None:
        """Set one of the dashboard's own settings.

        Raises:
            StoreError: The value cannot be kept.
        """
        with self._database.write() as connection:
            key_values.write_setting(connection, key, value, self._now())
