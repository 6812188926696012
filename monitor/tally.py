"""Counts one round's events. A round that is started again gets a new tally: the later attempt wins."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from monitor import rows
from monitor.metrics import accuracy_of, loss_of
from monitor.rows import Row

MIN_CLIENTS_FOR_PERCENTILES = 10  # below, the 10th and the 90th percentile say less than the extremes


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """One metric over the clients of a round, each counted once."""

    mean: float
    deviation: float
    minimum: float
    maximum: float
    p10: float | None = None  # from MIN_CLIENTS_FOR_PERCENTILES clients up, where their replies are known
    p90: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """One accepted reply."""

    num_examples: int
    norm: float | None
    loss: float | None
    accuracy: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One refused reply, and when: ``client`` is who was asked, "" when nobody was."""

    server_round: int
    phase: str
    client: str
    reason: str
    detail: str


@dataclass(slots=True)
class RoundTally:
    """What the events of one attempt at a round add up to."""

    server_round: int
    attempt: int = 1
    is_closed: bool = False
    kept_old_model: bool = False
    model_digest: str = ""
    central: Row = field(default_factory=dict)  # metrics of the global model on the central test set
    aggregate: Row = field(default_factory=dict)  # the strategy's aggregate of the clients' training metrics
    clients_evaluated: Row = field(default_factory=dict)
    updates: dict[str, Update] = field(default_factory=dict)  # training, by client
    evaluations: dict[str, Update] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)  # clients asked to train
    refusals: list[Refusal] = field(default_factory=list)
    late: Counter[str] = field(default_factory=Counter)
    evaluations_late: int = 0
    capped: Counter[str] = field(default_factory=Counter)
    train_seconds: dict[str, float] = field(default_factory=dict)  # request to reply, by client
    num_bytes: Counter[str] = field(default_factory=Counter)  # received in every phase, by client
    collect_seconds: float = 0.0
    aggregate_seconds: float = 0.0
    evaluate_seconds: float = 0.0
    checkpoint_seconds: float = 0.0
    seconds: float = 0.0

    def take(self, row: Row) -> None:
        """Count one event of this round; kinds that are not counted are ignored."""
        apply = _APPLY.get(rows.text(row, "type"))
        if apply is not None:
            apply(self, row)

    def spread(self, metric: Callable[[Mapping[str, object]], float | None]) -> Spread | None:
        """Return how a metric of the client-side evaluation spreads; ``metric`` is ``loss_of`` or ``accuracy_of``."""
        replies = self.evaluations.values()
        values = [v for reply in replies if (v := reply.loss if metric is loss_of else reply.accuracy) is not None]
        p10, p90 = _percentiles(values)
        told = self.clients_evaluated
        mean = metric(rows.mapping(told, "mean"))
        if mean is None and not values:
            return None
        if mean is None:
            mean, deviation, low, high = statistics.fmean(values), statistics.pstdev(values), min(values), max(values)
        else:
            deviation = metric(rows.mapping(told, "deviation")) or 0.0
            low, high = (
                _or(metric(rows.mapping(told, "minimum")), mean),
                _or(metric(rows.mapping(told, "maximum")), mean),
            )
        return Spread(mean=mean, deviation=deviation, minimum=low, maximum=high, p10=p10, p90=p90)


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def _percentiles(values: Sequence[float]) -> tuple[float, float] | tuple[None, None]:
    if len(values) < MIN_CLIENTS_FOR_PERCENTILES:
        return None, None
    tenths = statistics.quantiles(values, n=10, method="inclusive")
    return tenths[0], tenths[8]


def _round_started(tally: RoundTally, row: Row) -> None:
    tally.attempt = rows.whole(row, "attempt", 1)


def _phase_started(tally: RoundTally, row: Row) -> None:
    if rows.text(row, "phase") == "train":
        tally.asked.update(rows.names(row, "clients"))


def _received(tally: RoundTally, row: Row) -> None:
    client = rows.text(row, "client")
    tally.num_bytes[client] += rows.whole(row, "num-bytes")
    if rows.text(row, "phase") == "train":
        tally.train_seconds[client] = rows.seconds(row)


def _identified(tally: RoundTally, row: Row) -> None:
    """Give a client what was counted under its node's name while nobody knew whose node it is."""
    client, node = rows.text(row, "client"), f"node-{rows.text(row, 'node-id')}"
    for counts in (tally.asked, tally.num_bytes):
        if node in counts:
            counts[client] += counts.pop(node)
    if node in tally.late:
        tally.late[client] += tally.late.pop(node)
    if node in tally.train_seconds:
        tally.train_seconds[client] = tally.train_seconds.pop(node)
    tally.refusals = [
        replace(refusal, client=client) if refusal.client == node else refusal for refusal in tally.refusals
    ]


def _accepted(tally: RoundTally, row: Row) -> None:
    metrics = rows.mapping(row, "metrics")
    update = Update(
        num_examples=rows.whole(row, "num-examples"),
        norm=rows.number(row, "norm"),
        loss=loss_of(metrics),
        accuracy=accuracy_of(metrics),
    )
    by_client = {"train": tally.updates, "evaluate": tally.evaluations}.get(rows.text(row, "phase"))
    if by_client is not None:
        by_client[rows.text(row, "client")] = update


def _rejected(tally: RoundTally, row: Row) -> None:
    phase, client, reason, detail = (rows.text(row, key) for key in ("phase", "client", "reason", "detail"))
    refusal = Refusal(server_round=tally.server_round, phase=phase, client=client, reason=reason, detail=detail)
    tally.refusals.append(refusal)


def _capped(tally: RoundTally, row: Row) -> None:
    tally.capped[rows.text(row, "client")] += 1


def _late(tally: RoundTally, row: Row) -> None:
    if rows.text(row, "phase") == "evaluate":
        tally.evaluations_late += 1
    else:
        tally.late[rows.text(row, "client")] += 1


def _phase_ended(tally: RoundTally, row: Row) -> None:
    collect, aggregate = rows.seconds(row, "collect-seconds"), rows.seconds(row, "aggregate-seconds")
    if rows.text(row, "phase") == "evaluate":
        tally.evaluate_seconds += collect + aggregate
        return
    tally.collect_seconds += collect
    tally.aggregate_seconds += aggregate
    tally.kept_old_model = tally.kept_old_model or row.get("kept-old-model") is True
    tally.aggregate = rows.mapping(row, "metrics")


def _model_evaluated(tally: RoundTally, row: Row) -> None:
    tally.central = rows.mapping(row, "metrics")
    tally.evaluate_seconds += rows.seconds(row)


def _clients_evaluated(tally: RoundTally, row: Row) -> None:
    tally.clients_evaluated = row


def _round_closed(tally: RoundTally, row: Row) -> None:
    tally.is_closed = True
    tally.seconds = rows.seconds(row)
    tally.checkpoint_seconds = rows.seconds(row, "checkpoint-seconds")
    tally.model_digest = rows.text(row, "model-digest")


_APPLY: Mapping[str, Callable[[RoundTally, Row], None]] = {
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
}
