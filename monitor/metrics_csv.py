"""``metrics.csv``: one row a closed round, for spreadsheets and pandas. ``COLUMNS`` says what each column holds."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable
from pathlib import Path

from monitor.files import write_atomically
from monitor.rows import Row
from monitor.series import read_series
from monitor.tables import RoundRow
from monitor.tally import Spread

_Cell = bool | int | float | str | None


def _spread(of: Callable[[RoundRow], Spread | None], part: Callable[[Spread], float]) -> Callable[[RoundRow], _Cell]:
    def cell(row: RoundRow) -> _Cell:
        spread = of(row)
        return None if spread is None else part(spread)

    return cell


# Column -> value. An empty cell is "not measured". Durations are seconds; accuracies are fractions of 1.
COLUMNS: dict[str, Callable[[RoundRow], _Cell]] = {
    "round": lambda row: row.server_round,
    # The global model after the round, on the central test set.
    "loss": lambda row: row.loss,
    "accuracy": lambda row: row.accuracy,
    # The global model on the clients' own test data: mean and standard deviation over clients, and the extremes.
    "client_loss_mean": _spread(lambda row: row.client_loss, lambda spread: spread.mean),
    "client_loss_std": _spread(lambda row: row.client_loss, lambda spread: spread.deviation),
    "client_accuracy_mean": _spread(lambda row: row.client_accuracy, lambda spread: spread.mean),
    "client_accuracy_std": _spread(lambda row: row.client_accuracy, lambda spread: spread.deviation),
    "client_accuracy_min": _spread(lambda row: row.client_accuracy, lambda spread: spread.minimum),
    "client_accuracy_max": _spread(lambda row: row.client_accuracy, lambda spread: spread.maximum),
    # What the clients report of their training, as the strategy aggregates it.
    "train_loss": lambda row: row.train_loss,
    "train_accuracy": lambda row: row.train_accuracy,
    # Updates (replies that train the model), then evaluation replies.
    "updates_accepted": lambda row: row.accepted,
    "updates_rejected": lambda row: row.rejected,
    "updates_late": lambda row: row.late,
    "updates_capped": lambda row: row.capped,
    "evaluations_accepted": lambda row: row.evaluations_accepted,
    "evaluations_rejected": lambda row: row.evaluations_rejected,
    "evaluations_late": lambda row: row.evaluations_late,
    "num_examples": lambda row: row.num_examples,  # behind the accepted updates
    "kept_old_model": lambda row: row.kept_old_model,
    "attempt": lambda row: row.attempt,  # the start of the round that counts
    "collect_seconds": lambda row: row.collect_seconds,
    "aggregate_seconds": lambda row: row.aggregate_seconds,
    "evaluate_seconds": lambda row: row.evaluate_seconds,
    "checkpoint_seconds": lambda row: row.checkpoint_seconds,
    "seconds": lambda row: row.seconds,
    "model_digest": lambda row: row.model_digest,  # hex SHA-256
}


def write_metrics_csv(path: Path, events: Iterable[Row]) -> None:
    """Write ``path`` whole, from the rows of a run.

    Raises:
        OSError: The file cannot be written; an earlier one is left as it was.
    """
    write_atomically(path, metrics_csv(read_series(events).rounds))


def metrics_csv(rounds: Iterable[RoundRow]) -> str:
    """Return the table as CSV (RFC 4180, but with plain line feeds): a header line, then one line a closed round."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rounds:
        if row.is_closed:
            writer.writerow([_shown(value(row)) for value in COLUMNS.values()])
    return text.getvalue()


def _shown(value: _Cell) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.10g}"
    return "" if value is None else str(value)
