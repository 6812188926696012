"""A run's outcome as one JSON object: what ``--json`` prints and other programs read."""

from __future__ import annotations

from pathlib import Path

from monitor.tables import RunSeries
from shared.events import JsonValue

_FROM_CONFIG = ("engine", "dataset", "model", "strategy", "num-clients", "num-rounds")


def result_of(series: RunSeries, output: Path) -> dict[str, JsonValue]:
    """Return the outcome of a run whose folder is ``output``; counts are of updates, evaluation replies left out."""
    summary = series.summary
    return {
        "run_id": series.run,
        "state": summary.state,
        **{key.replace("-", "_"): series.config.get(key) for key in _FROM_CONFIG},
        "rounds_completed": summary.rounds_completed,
        "accuracy": summary.accuracy,
        "loss": summary.loss,
        "updates_accepted": summary.updates_accepted,
        "updates_rejected": summary.updates_rejected,
        "rejections": dict(summary.rejections),
        "seconds_total": summary.seconds_total,
        "seconds_rounds": summary.seconds_rounds,
        "output": str(output),
    }
