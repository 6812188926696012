"""What a run leaves: the model, the tables, the report, and one object with the figures."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import safetensors.numpy
from flwr.app import ArrayRecord

from constellation import folders
from monitor.series import read_series
from monitor.sinks import read_events
from monitor.tables import RunSeries
from shared.config import RunConfig
from shared.errors import RunFailed
from shared.parameters import AnyArray
from shared.records import from_array_record


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """The results of a run; ``to_json`` is what ``--json`` prints."""

    run_id: str
    state: str
    config: RunConfig
    rounds_completed: int
    accuracy: float | None  # of the last closed round: central test set, or else the clients' mean; 0 to 1
    loss: float | None
    updates_accepted: int
    updates_rejected: int
    rejections: Mapping[str, int]
    seconds_total: float
    seconds_rounds: float
    output: Path
    arrays: Mapping[str, AnyArray] = field(repr=False)  # the global model
    series: RunSeries = field(repr=False)  # every table

    def to_json(self) -> dict[str, object]:
        """Return the figures as one JSON object."""
        return {
            "run_id": self.run_id,
            "state": self.state,
            "engine": self.config.engine,
            "dataset": self.config.dataset,
            "model": self.config.model,
            "strategy": self.config.strategy,
            "num_clients": self.config.num_clients,
            "num_rounds": self.config.num_rounds,
            "rounds_completed": self.rounds_completed,
            "accuracy": self.accuracy,
            "loss": self.loss,
            "updates_accepted": self.updates_accepted,
            "updates_rejected": self.updates_rejected,
            "rejections": dict(self.rejections),
            "seconds_total": round(self.seconds_total, 3),
            "seconds_rounds": round(self.seconds_rounds, 3),
            "output": str(self.output),
        }


def write_results(run_dir: Path, config: RunConfig, arrays: ArrayRecord) -> RunResult:
    """Write the model and the tables of a run that ended, and return its results.

    Raises:
        RunFailed: The folder cannot be written any more.
    """
    series = read_series(read_events(run_dir / folders.EVENTS_FILE))
    summary = series.summary
    model = {name: array.copy() for name, array in from_array_record(arrays).items()}
    result = RunResult(
        run_id=run_dir.name,
        state=summary.state,
        config=config,
        rounds_completed=summary.rounds_completed,
        accuracy=summary.accuracy,
        loss=summary.loss,
        updates_accepted=summary.updates_accepted,
        updates_rejected=summary.updates_rejected,
        rejections=summary.rejections,
        seconds_total=summary.seconds_total,
        seconds_rounds=summary.seconds_rounds,
        output=run_dir,
        arrays=model,
        series=series,
    )
    try:
        _write(run_dir / folders.MODEL_FILE, safetensors.numpy.save(model))
        _write(run_dir / folders.RESULT_FILE, (json.dumps(result.to_json(), indent=2) + "\n").encode())
    except OSError as error:
        reason = error.strerror or str(error)
        raise RunFailed(f"results of {run_dir} cannot be written: {reason}; free the disk, then --resume") from error
    return result


def _write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    fresh = path.with_name(f".{path.name}-{os.getpid()}")
    fresh.write_bytes(data)
    fresh.replace(path)
