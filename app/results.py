"""What a run leaves: the model, the tables, the report, and one object with the figures."""

from __future__ import annotations

import contextlib
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import safetensors.numpy
from flwr.app import ArrayRecord

from app import run_folder
from app.model_recipe import how_to_load
from monitor.files import write_atomically
from monitor.metrics_csv import write_metrics_csv
from monitor.report import Baselines, Extras, SeedRun, write_report
from monitor.series import read_series
from monitor.sinks import read_events
from monitor.system import environment
from monitor.tables import RunSeries
from shared.config import RunConfig
from shared.errors import RunFailed
from shared.parameters import AnyArray
from shared.records import from_array_record


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineAccuracies:
    """What the model is compared with: accuracies on the central test set, 0 to 1."""

    centralised: float
    local_only: Mapping[int, float]  # by partition id
    local_by_client: Mapping[str, float]  # the same, by client id

    @property
    def local_mean(self) -> float:
        """Mean over the clients that trained alone."""
        return statistics.fmean(self.local_only.values())

    @property
    def local_deviation(self) -> float:
        """Population standard deviation over them."""
        return statistics.pstdev(self.local_only.values())


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
    baselines: BaselineAccuracies | None = None
    seeds: tuple[SeedRun, ...] = ()  # of all runs that differ in their seed only
    arrays: Mapping[str, AnyArray] = field(repr=False)  # the global model
    series: RunSeries = field(repr=False)  # every table

    def to_json(self) -> dict[str, object]:
        """Return the figures as one JSON object; ``baselines`` and ``seeds`` only where they were asked for."""
        figures: dict[str, object] = {
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
        if (privacy := self.series.privacy) is not None:
            figures |= {"epsilon": privacy.epsilon, "delta": privacy.delta, "privacy": privacy.to_json()}
        if self.baselines is not None:
            figures["baselines"] = {
                "centralised": self.baselines.centralised,
                "local_only": self.baselines.local_mean,
                "local_only_deviation": self.baselines.local_deviation,
            }
        if self.seeds:
            figures["seeds"] = seeds_json(self.seeds)
        return figures


def seeds_json(seeds: Sequence[SeedRun]) -> dict[str, object]:
    """Return each seed's figures, and their mean and sample standard deviation."""
    figures: dict[str, object] = {
        "runs": [{"seed": run.seed, "run_id": run.run, "accuracy": run.accuracy, "loss": run.loss} for run in seeds]
    }
    for name in ("accuracy", "loss"):
        values = [value for run in seeds if (value := getattr(run, name)) is not None]
        figures[f"{name}_mean"] = statistics.fmean(values) if values else None
        figures[f"{name}_deviation"] = statistics.stdev(values) if len(values) > 1 else None
    return figures


def write_results(
    run_dir: Path, config: RunConfig, arrays: ArrayRecord, baselines: BaselineAccuracies | None = None
) -> RunResult:
    """Write the model, the tables and the report of a run that ended, and return its results.

    Raises:
        RunFailed: The folder cannot be written any more.
    """
    series = read_series(read_events(run_dir / run_folder.EVENTS_FILE))
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
        baselines=baselines,
        arrays=model,
        series=series,
    )
    try:
        write_atomically(run_dir / run_folder.MODEL_FILE, safetensors.numpy.save(model))
        write_metrics_csv(run_dir / run_folder.METRICS_FILE, read_events(run_dir / run_folder.EVENTS_FILE))
        write_figures(result)
    except OSError as error:
        reason = error.strerror or str(error)
        raise RunFailed(f"results of {run_dir} cannot be written: {reason}; free the disk, then --resume") from error
    return result


def write_figures(result: RunResult) -> None:
    """Write ``report.json`` and ``report.html``.

    Raises:
        OSError: The folder cannot be written any more.
    """
    write_atomically(result.output / run_folder.RESULT_FILE, json.dumps(result.to_json(), indent=2) + "\n")
    write_report(
        result.output,
        Extras(
            environment=environment(),
            how_to_load=how_to_load(result.config.model, result.arrays, private=result.config.dp),
            baselines=_baselines_of(result),
            seeds=result.seeds,
        ),
    )


def write_what_is_there(run_dir: Path) -> None:
    """Write the tables and the report of a run that failed, as far as the disk allows."""
    with contextlib.suppress(OSError):
        write_metrics_csv(run_dir / run_folder.METRICS_FILE, read_events(run_dir / run_folder.EVENTS_FILE))
        write_report(run_dir, Extras(environment=environment()))


def _baselines_of(result: RunResult) -> Baselines | None:
    found = result.baselines
    if found is None:
        return None
    return Baselines(
        centralised=found.centralised,
        local_only=found.local_mean,
        local_only_deviation=found.local_deviation,
        local_only_by_client=dict(found.local_by_client),
        note=f"Each trained for {result.config.num_rounds} rounds with the run's settings, from the same weights.",
    )
