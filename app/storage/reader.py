"""Every question the run store answers; each is one transaction that sees one state of the database."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import BinaryIO, Literal

from sqlalchemy import select

from app.storage import (
    client_queries,
    event_queries,
    exporting,
    key_values,
    metric_queries,
    model_queries,
    nodes,
    round_queries,
    run_queries,
    update_queries,
)
from app.storage.database import Database
from app.storage.objects import ObjectStore
from app.storage.row_views import privacy_view
from app.storage.tables import CLIENTS, ROUNDS, RUNS
from app.storage.values import Page, RunProcess, SamplePoint, Scalar
from app.storage.views import (
    ClientView,
    Comparison,
    EventView,
    MetricsView,
    ModelView,
    NodeView,
    PrivacyView,
    RoundView,
    RunDelta,
    RunView,
    Snapshot,
    UpdateView,
)
from monitor.tables import RoundRow
from shared.errors import BadQuery
from shared.events import JsonValue

MAX_POINTS = 5_000
_REFUSALS_SHOWN = 50
_MODELS_SHOWN = 200
_ROUNDS_IN_DELTA = 1_000


class Reader:
    """Answers questions; ``app.storage.store.Store`` also takes in what happens."""

    def __init__(self, database: Database, objects: ObjectStore, now: Callable[[], float]) -> None:
        self._database = database
        self._objects = objects
        self._now = now

    @property
    def settings(self) -> dict[str, JsonValue]:
        """The dashboard's own settings."""
        with self._database.read() as connection:
            return key_values.read_settings(connection)

    # --- runs

    def run(self, run_id: str) -> RunView:
        """Return one run.

        Raises:
            NotFound: There is no such run.
        """
        with self._database.read() as connection:
            return run_queries.one_run(connection, run_id, self._now())[1]

    def runs(
        self,
        *,
        state: str | None = None,
        query: str | None = None,
        sort: str = "-created",
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[RunView]:
        """Return a page of runs; ``query`` looks into ids, names, data sets, models and strategies.

        Raises:
            BadQuery: The sort, the limit or the cursor is not usable.
        """
        with self._database.read() as connection:
            return run_queries.runs_page(
                connection, state=state, query=query, sort=sort, limit=limit, cursor=cursor, now=self._now()
            )

    def config(self, run_id: str) -> dict[str, Scalar]:
        """Return a run's settings.

        Raises:
            NotFound: There is no such run.
        """
        with self._database.read() as connection:
            return run_queries.config_of(connection, run_queries.run_key_of(connection, run_id))

    def living_runs(self) -> tuple[RunProcess, ...]:
        """Return the runs that should have a living process: starting, running, paused or stopping."""
        with self._database.read() as connection:
            return run_queries.living(connection)

    def run_process(self, run_id: str) -> RunProcess:
        """Return which process a run is, or was.

        Raises:
            NotFound: There is no such run.
        """
        with self._database.read() as connection:
            return run_queries.process_of(connection, run_id)

    # --- one run's page

    def snapshot(self, run_id: str, *, max_points: int = 500) -> Snapshot:
        """Return all that the page of a run begins with, as of ``last_seq``.

        Raises:
            NotFound: There is no such run.
            BadQuery: ``max_points`` is out of range.
        """
        checked_points(max_points)
        with self._database.read() as connection:
            key, run = run_queries.one_run(connection, run_id, self._now())
            rounds = round_queries.rounds_of(connection, key, run)
            return Snapshot.model_construct(
                run=run,
                last_seq=run.last_seq,
                config=run_queries.config_of(connection, key),
                rounds=round_queries.thinned(rounds, max_points),
                num_rounds_known=len(rounds),
                clients=client_queries.clients_of(connection, key, run),
                current=round_queries.phase_now(connection, key, run),
                partition=client_queries.partition_of(connection, key),
                rejections=update_queries.newest_refusals(connection, key, _REFUSALS_SHOWN),
                nodes=nodes.nodes_of(connection, run_id, self._now()),
                privacy=self._privacy(connection, key, 0),
                models=model_queries.models_of_run(connection, key, _MODELS_SHOWN),
            )

    def delta(self, run_id: str, after_seq: int) -> RunDelta:
        """Return what changed in a run after its event ``after_seq``; ``current.updates`` are the changed ones only.

        Raises:
            NotFound: There is no such run.
        """
        if not 0 <= after_seq < 2**63:
            raise BadQuery("after", "must be the number of an event, from 0")
        with self._database.read() as connection:
            key, run = run_queries.one_run(connection, run_id, self._now())
            return RunDelta.model_construct(
                run=run,
                last_seq=run.last_seq,
                rounds=tuple(
                    round_queries.rounds_of(connection, key, run, ROUNDS.c.seq > after_seq, limit=_ROUNDS_IN_DELTA)
                ),
                clients=client_queries.clients_of(connection, key, run, CLIENTS.c.seq > after_seq),
                current=round_queries.phase_now(connection, key, run, after_seq=after_seq),
                rejections=update_queries.newest_refusals(connection, key, _REFUSALS_SHOWN, after_seq),
                privacy=self._privacy(connection, key, after_seq),
                nodes=nodes.nodes_of(connection, run_id, self._now()),
                partition=client_queries.partition_of(connection, key, after_seq),
                models=model_queries.models_of_run(connection, key, _MODELS_SHOWN, after_seq),
            )

    def rounds(self, run_id: str, *, limit: int = 100, cursor: str | None = None) -> Page[RoundView]:
        """Return a page of rounds, ascending.

        Raises:
            NotFound: There is no such run.
        """
        with self._database.read() as connection:
            key, run = run_queries.one_run(connection, run_id, self._now())
            return round_queries.rounds_page(connection, key, run, limit=limit, cursor=cursor)

    def round(self, run_id: str, server_round: int) -> RoundView:
        """Return one round.

        Raises:
            NotFound: There is no such run or round.
        """
        with self._database.read() as connection:
            key, run = run_queries.one_run(connection, run_id, self._now())
            return round_queries.one_round(connection, key, run, server_round)

    def round_updates(self, run_id: str, server_round: int) -> tuple[UpdateView, ...]:
        """Return what every client did in a round, in the order in which they were asked.

        Raises:
            NotFound: There is no such run or round.
        """
        with self._database.read() as connection:
            key, run = run_queries.one_run(connection, run_id, self._now())
            round_queries.one_round(connection, key, run, server_round)
            return update_queries.updates_of_round(connection, key, server_round)

    def updates(
        self,
        run_id: str,
        *,
        state: str | None = None,
        reason: str | None = None,
        client: str | None = None,
        phase: str | None = None,
        server_round: int | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page[UpdateView]:
        """Return a page of updates, newest first; with ``state="rejected"`` or a ``reason``, every refused reply.

        Raises:
            NotFound: There is no such run.
            BadQuery: A filter, the limit or the cursor is not usable.
        """
        with self._database.read() as connection:
            return update_queries.updates_page(
                connection, run_queries.run_key_of(connection, run_id), state=state, reason=reason, client=client,
                phase=phase, server_round=server_round, limit=limit, cursor=cursor,
            )  # fmt: skip

    def clients(self, run_id: str, *, limit: int = 100, cursor: str | None = None) -> Page[ClientView]:
        """Return a page of clients, client-2 before client-10.

        Raises:
            NotFound: There is no such run.
        """
        with self._database.read() as connection:
            key, run = run_queries.one_run(connection, run_id, self._now())
            return client_queries.clients_page(connection, key, run, limit=limit, cursor=cursor)

    # --- charts

    def metrics(
        self,
        run_id: str,
        *,
        names: Sequence[str] = (),
        clients: Sequence[str] | None = (),
        max_points: int = 500,
    ) -> MetricsView:
        """Return the lines of a run's charts: ``app.storage.metric_queries`` says which names there are.

        Without ``clients`` each client has lines of its own where they are few; None gives nobody one.

        Raises:
            NotFound: There is no such run.
            BadQuery: There are too many names, clients or points.
        """
        checked_points(max_points)
        with self._database.read() as connection:
            key = run_queries.run_key_of(connection, run_id)
            return metric_queries.metrics_of(
                connection, key, run_id, names=names, clients=clients, max_points=max_points
            )

    def compare(self, run_ids: Sequence[str], x: Literal["round", "time", "bytes"] = "round") -> Comparison:
        """Put runs beside each other, in this order.

        Raises:
            NotFound: There is no such run.
            BadQuery: There are none, or too many.
        """
        with self._database.read() as connection:
            return metric_queries.compare(connection, run_ids, x, self._now())

    def round_rows(self, run_id: str) -> tuple[RoundRow, ...]:
        """Return all rounds as ``monitor.metrics_csv`` takes them: an export is then the run's own metrics.csv.

        Raises:
            NotFound: There is no such run.
        """
        with self._database.read() as connection:
            return exporting.round_rows(connection, run_queries.run_key_of(connection, run_id))

    # --- nodes

    def nodes(self, run_id: str | None = None) -> tuple[NodeView, ...]:
        """Return the processes of a run, the server first; without a run, those of all that were seen last."""
        with self._database.read() as connection:
            return nodes.nodes_of(connection, run_id, self._now())

    def samples(self, run_id: str | None, node: str, *, max_points: int = 500) -> tuple[SamplePoint, ...]:
        """Return a node's history, oldest first.

        Raises:
            NotFound: There is no such node.
        """
        checked_points(max_points)
        with self._database.read() as connection:
            return nodes.samples_of(connection, run_id, node, max_points)

    # --- events and models

    def events(
        self,
        *,
        after: int = 0,
        run: str | None = None,
        types: Sequence[str] = (),
        limit: int = 200,
        newest_first: bool = False,
    ) -> tuple[EventView, ...]:
        """Return events whose id is above ``after``, oldest first unless it says otherwise.

        Raises:
            NotFound: There is no such run.
            BadQuery: A filter or the limit is not usable.
        """
        with self._database.read() as connection:
            return event_queries.events_after(
                connection, after=after, run=run, types=types, limit=limit, newest_first=newest_first
            )

    def last_event_id(self) -> int:
        """Return the newest event's id, 0 when there is none."""
        with self._database.read() as connection:
            return event_queries.last_id(connection)

    def models(self, run_id: str | None = None, *, limit: int = 100, cursor: str | None = None) -> Page[ModelView]:
        """Return a page of models, newest first.

        Raises:
            NotFound: There is no such run.
        """
        with self._database.read() as connection:
            key = run_queries.run_key_of(connection, run_id) if run_id is not None else None
            return model_queries.models_page(connection, key, limit=limit, cursor=cursor)

    def lineage(self, digest: str) -> tuple[ModelView, ...]:
        """Return a model and those it came from, newest first.

        Raises:
            NotFound: No run recorded it.
        """
        with self._database.read() as connection:
            return model_queries.lineage_of(connection, digest)

    def open_model(self, digest: str) -> BinaryIO:
        """Open the file of a model, which is then what was put.

        Raises:
            NotFound: There is no such model, or no file of it.
            StoreError: The file was changed.
        """
        with self._database.read() as connection:
            file_digest = model_queries.newest_of(connection, digest, with_file=True).file_digest
        return self._objects.open(digest, file_digest)

    def _privacy(self, connection: object, key: int, after_seq: int) -> PrivacyView | None:
        table = RUNS.c
        row = connection.execute(select(table.privacy, table.privacy_seq).where(table.id == key)).one()  # type: ignore[attr-defined]
        return privacy_view(row.privacy) if row.privacy_seq > after_seq else None


def checked_points(max_points: int) -> int:
    """Return how many points a line may have.

    Raises:
        BadQuery: It is not from 2 to the maximum.
    """
    if not 2 <= max_points <= MAX_POINTS:
        raise BadQuery("max_points", f"must be from 2 to {MAX_POINTS}, got {max_points}")
    return max_points
