"""How good a run is, as a fold over its closed rounds; and how a metric spreads over the clients of one round."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from app.storage.checking import to_json
from app.storage.records import RunRecord
from monitor.metrics import accuracy_of, loss_of
from monitor.tally import MIN_CLIENTS_FOR_PERCENTILES, RoundTally, Update

MAX_SPARK = 40  # points of the small chart in a list of runs
RECENT_ROUNDS = 5  # the last rounds' median tells best how long the next will take

SpreadValues = dict[str, float]


def spreads(
    replies: Iterable[tuple[float | None, float | None]], told: Mapping[str, Any]
) -> tuple[SpreadValues | None, SpreadValues | None]:
    """Return how loss and accuracy spread over clients, as ``monitor.tally`` counts them, with the median.

    Args:
        replies: Loss and accuracy of each client's evaluation.
        told: What the run itself said (``clients-evaluated``): its mean counts, where there is one.
    """
    pairs = list(replies)
    tally = RoundTally(0)
    tally.clients_evaluated = told
    tally.evaluations = {
        str(index): Update(num_examples=0, norm=None, loss=loss, accuracy=accuracy)
        for index, (loss, accuracy) in enumerate(pairs)
    }
    return (
        _with_median(tally, loss_of, [loss for loss, _ in pairs if loss is not None]),
        _with_median(tally, accuracy_of, [accuracy for _, accuracy in pairs if accuracy is not None]),
    )


def _with_median(tally: RoundTally, metric: Any, values: list[float]) -> SpreadValues | None:
    spread = tally.spread(metric)
    if spread is None:
        return None
    found = {
        "mean": spread.mean,
        "deviation": spread.deviation,
        "minimum": spread.minimum,
        "maximum": spread.maximum,
    }
    if spread.p10 is not None and spread.p90 is not None and len(values) >= MIN_CLIENTS_FOR_PERCENTILES:
        found |= {"p10": spread.p10, "median": statistics.median(values), "p90": spread.p90}
    return found


@dataclass(frozen=True, slots=True)
class Score:
    """What one closed round says of the global model: on the central test set, else the mean over the clients."""

    server_round: int
    loss: float | None
    accuracy: float | None
    seconds: float

    @classmethod
    def of(cls, row: Any) -> Score:
        """Take it from a row of the rounds."""
        return cls(
            row.server_round,
            or_mean(row.loss, row.client_loss),
            or_mean(row.accuracy, row.client_accuracy),
            row.seconds,
        )


def or_mean(central: float | None, spread: str | None) -> float | None:
    """Return the central figure, else the clients' mean."""
    if central is not None or not spread:
        return central
    mean: float = json.loads(spread)["mean"]
    return mean


def clear(run: RunRecord) -> None:
    """Begin the fold."""
    run.last_closed, run.rounds_completed = -1, 0
    run.accuracy = run.loss = run.best_accuracy = None
    run.best_round = 0
    run.spark, run.recent_seconds = "{}", "[]"


def add_round(run: RunRecord, score: Score) -> None:
    """Add the next closed round; rounds come in ascending order."""
    run.rounds_completed += 1
    run.last_closed = score.server_round
    run.loss, run.accuracy = score.loss, score.accuracy
    run.recent_seconds = to_json([*json.loads(run.recent_seconds), score.seconds][-RECENT_ROUNDS:])
    if score.accuracy is not None:
        if run.best_accuracy is None or score.accuracy > run.best_accuracy:
            run.best_accuracy, run.best_round = score.accuracy, score.server_round
        run.spark = add_to_spark(run.spark, score.accuracy)


def add_to_spark(text: str, value: float) -> str:
    """Add a point to a line that never has more than ``MAX_SPARK``: every second, fourth, ... point and the last."""
    spark = json.loads(text) or {"count": 0, "stride": 1, "kept": [], "last": None}
    if spark["count"] % spark["stride"] == 0:
        spark["kept"].append(value)
    spark["count"] += 1
    spark["last"] = value
    if len(spark["kept"]) >= MAX_SPARK:
        spark["kept"], spark["stride"] = spark["kept"][::2], spark["stride"] * 2
    return to_json(spark)


def spark_points(text: str) -> tuple[float, ...]:
    """Return the line's points."""
    spark = json.loads(text)
    if not spark:
        return ()
    is_last_kept = (spark["count"] - 1) % spark["stride"] == 0
    return tuple(spark["kept"] if is_last_kept else [*spark["kept"], spark["last"]])
