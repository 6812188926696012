"""From the events of a run to its tables: pure functions over event rows.

A round that was started twice (a run resumed after a crash) counts once: the later attempt wins, and the replies of the
abandoned one are in the events only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from monitor import rows
from monitor.client_tally import client_rows
from monitor.metrics import accuracy_of, loss_of
from monitor.privacy import read_privacy
from monitor.rows import Row
from monitor.tables import RoundRow, RunSeries, Summary
from monitor.tally import Refusal, RoundTally


def read_series(events: Iterable[Row]) -> RunSeries:
    """Turn the rows of a run, in order, into its tables."""
    log = _Log()
    for row in events:
        log.take(row)
    tallies = [log.tallies[number] for number in sorted(log.tallies)]
    rounds = tuple(map(_round_row, tallies))
    refusals = tuple(refusal for tally in tallies for refusal in tally.refusals)
    return RunSeries(
        run=log.run,
        started_ts=log.started_ts,
        config=rows.mapping(log.started, "config"),
        num_clients=rows.whole(log.started, "num-clients"),
        num_parameters=rows.whole(log.started, "num-parameters"),
        workers=rows.whole(log.started, "workers"),
        class_names=tuple(rows.names(log.partition, "class-names")),
        rounds=rounds,
        clients=client_rows(rows.names(log.started, "clients"), rows.counts(log.partition, "histograms"), tallies),
        refusals=refusals,
        summary=_summary(log, rounds, refusals, tallies),
        privacy=read_privacy(log.privacy),
    )


class _Log:
    """Sorts rows into rounds, and forgets rounds that are started again."""

    def __init__(self) -> None:
        self.run = ""
        self.started: Row = {}
        self.started_ts: float | None = None
        self.partition: Row = {}
        self.ended: Row = {}
        self.privacy: list[Row] = []
        self.tallies: dict[int, RoundTally] = {}
        self.num_starts = 0
        self.seconds_before = 0.0  # of earlier starts
        self._start_ts = 0.0
        self._last_ts = 0.0

    @property
    def seconds_total(self) -> float:
        return self.seconds_before + (rows.number(self.ended, "seconds") or max(0.0, self._last_ts - self._start_ts))

    def take(self, row: Row) -> None:
        kind = rows.text(row, "type")
        if kind == "run-started":
            self._start(row)
        elif kind == "partition-described":
            self.partition = row
        elif kind == "run-ended":
            self.ended = row
        elif kind == "privacy-spent":
            self.privacy.append(row)
        elif "server-round" in row:
            number = rows.whole(row, "server-round")
            if kind == "round-started":
                self._forget_from(number)
            self.tallies.setdefault(number, RoundTally(number)).take(row)
        self._last_ts = rows.number(row, "ts") or self._last_ts

    def _start(self, row: Row) -> None:
        self.seconds_before = self.seconds_total
        self.started, self.ended = row, {}
        self.run = rows.text(row, "run")
        self._start_ts = self._last_ts = rows.number(row, "ts") or 0.0
        if self.started_ts is None:
            self.started_ts = rows.number(row, "ts")
        self.num_starts += 1
        self._forget_from(max(1, rows.whole(row, "first-round", 1)))

    def _forget_from(self, number: int) -> None:
        for later in [known for known in self.tallies if known >= number]:
            del self.tallies[later]


def _round_row(tally: RoundTally) -> RoundRow:
    evaluations_rejected = sum(refusal.phase == "evaluate" for refusal in tally.refusals)
    return RoundRow(
        server_round=tally.server_round,
        attempt=tally.attempt,
        is_closed=tally.is_closed,
        loss=loss_of(tally.central),
        accuracy=accuracy_of(tally.central),
        client_loss=tally.spread(loss_of),
        client_accuracy=tally.spread(accuracy_of),
        train_loss=loss_of(tally.aggregate),
        train_accuracy=accuracy_of(tally.aggregate),
        accepted=len(tally.updates),
        rejected=len(tally.refusals) - evaluations_rejected,
        late=tally.late.total(),
        capped=tally.capped.total(),
        evaluations_accepted=len(tally.evaluations),
        evaluations_rejected=evaluations_rejected,
        evaluations_late=tally.evaluations_late,
        num_examples=sum(update.num_examples for update in tally.updates.values()),
        collect_seconds=tally.collect_seconds,
        aggregate_seconds=tally.aggregate_seconds,
        evaluate_seconds=tally.evaluate_seconds,
        checkpoint_seconds=tally.checkpoint_seconds,
        seconds=tally.seconds,
        kept_old_model=tally.kept_old_model,
        model_digest=tally.model_digest,
    )


def _summary(
    log: _Log, rounds: Sequence[RoundRow], refusals: Sequence[Refusal], tallies: Sequence[RoundTally]
) -> Summary:
    closed = [row for row in rounds if row.is_closed]
    scored = [(accuracy, row.server_round) for row in closed if (accuracy := global_accuracy(row)) is not None]
    best, best_round = max(scored, key=lambda pair: (pair[0], -pair[1])) if scored else (None, 0)
    initial = next((row for row in rounds if row.server_round == 0), None)
    rejections = Counter(refusal.reason for refusal in refusals if refusal.phase != "evaluate")
    return Summary(
        state=rows.text(log.ended, "state") or "unfinished",
        error=rows.text(log.ended, "error"),
        rounds_completed=len(closed),
        loss=global_loss(closed[-1]) if closed else None,
        accuracy=global_accuracy(closed[-1]) if closed else None,
        initial_accuracy=global_accuracy(initial) if initial else None,
        best_accuracy=best,
        best_round=best_round,
        updates_accepted=sum(row.accepted for row in rounds),
        updates_rejected=sum(row.rejected for row in rounds),
        updates_late=sum(row.late for row in rounds),
        updates_capped=sum(row.capped for row in rounds),
        evaluations_accepted=sum(row.evaluations_accepted for row in rounds),
        evaluations_rejected=sum(row.evaluations_rejected for row in rounds),
        rounds_without_update=sum(row.kept_old_model for row in rounds),
        rejections=dict(rejections.most_common()),
        seconds_total=log.seconds_total,
        seconds_rounds=sum(row.seconds for row in closed),
        num_bytes=sum(tally.num_bytes.total() for tally in tallies),
        num_starts=log.num_starts,
        model_digest=closed[-1].model_digest if closed else "",
    )


def global_loss(row: RoundRow) -> float | None:
    """Return the global model's loss: on the central test set, or else the mean over the clients' own."""
    return row.loss if row.loss is not None or row.client_loss is None else row.client_loss.mean


def global_accuracy(row: RoundRow) -> float | None:
    """Return the global model's accuracy, as ``global_loss`` does."""
    return row.accuracy if row.accuracy is not None or row.client_accuracy is None else row.client_accuracy.mean


def has_central_test(rounds: Iterable[RoundRow]) -> bool:
    """Tell whether the global model was evaluated on a central test set after any round."""
    return any(row.loss is not None or row.accuracy is not None for row in rounds if row.server_round > 0)
