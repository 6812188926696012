"""The runs of an output folder: found by name, read from their events, whatever became of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from app import run_lock
from app.run_folder import is_run_dir, run_dirs
from constellation import folders
from monitor.rows import Row
from monitor.series import read_series
from monitor.sinks import read_events
from monitor.tables import RunSeries, Summary
from shared.config import load_toml
from shared.errors import ConfigError, UsageError

LAST = "last"
COMPLETED, RUNNING, KILLED, UNFINISHED = "completed", "running", "killed", "unfinished"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRun:
    """One run as its folder tells it."""

    path: Path
    state: str  # completed, stopped, failed, interrupted, running, killed; unfinished where running cannot be known
    started_ts: float  # Unix seconds
    settings: Mapping[str, object] = field(repr=False)  # kebab-case, as they were resolved
    series: RunSeries = field(repr=False)

    @property
    def run_id(self) -> str:
        """The run's name: that of its folder."""
        return self.path.name

    @property
    def summary(self) -> Summary:
        """The run in a few figures."""
        return self.series.summary

    def setting(self, key: str) -> object:
        """Return a setting, "" when the folder does not tell it."""
        return self.settings.get(key, "")

    def to_json(self) -> dict[str, object]:
        """Return what ``runs list --json`` prints of a run."""
        summary = self.summary
        return {
            "run_id": self.run_id,
            "state": self.state,
            "started": self.started_ts,
            **{key.replace("-", "_"): self.setting(key) for key in ("dataset", "model", "strategy", "num-clients")},
            "num_rounds": self.setting("num-rounds"),
            "rounds_completed": summary.rounds_completed,
            "accuracy": summary.accuracy,
            "loss": summary.loss,
            "updates_accepted": summary.updates_accepted,
            "updates_rejected": summary.updates_rejected,
            "rejections": dict(summary.rejections),
            "seconds_total": round(summary.seconds_total, 3),
            "output": str(self.path),
        }


def read_run(path: Path) -> RecordedRun:
    """Read a run from its folder.

    Raises:
        UsageError: Its events cannot be read.
    """
    is_running = run_lock.is_held(path)  # asked first: a run that ends meanwhile has then written its last event
    try:
        series = read_series(read_events(path / folders.EVENTS_FILE))
        touched = (path / folders.CONFIG_FILE).stat().st_mtime
    except OSError as error:
        raise UsageError(f"run {path} cannot be read: {error.strerror or error}; check its rights") from error
    return RecordedRun(
        path=path,
        state=_state_of(series.summary.state, is_running),
        started_ts=touched if series.started_ts is None else series.started_ts,
        settings=_settings_of(path, series.config),
        series=series,
    )


def read_runs(output: Path) -> list[RecordedRun]:
    """Read all runs of an output folder, the newest last."""
    return sorted(map(read_run, run_dirs(output)), key=lambda run: (run.started_ts, run.run_id))


def find_run(name: str, output: Path) -> Path:
    """Find a run by its id, the beginning of one, its folder's path, or ``last``.

    Raises:
        UsageError: There is no such run, or several begin like that.
    """
    is_id = bool(name) and Path(name).name == name and name != ".."
    if is_id and name == LAST:
        return _last(output)
    if is_id and is_run_dir(output / name):
        return output / name
    if is_run_dir(path := Path(name).resolve()):
        return Path(name) if Path(name).name == path.name else path
    found = [known for known in run_dirs(output) if is_id and known.name.startswith(name)]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(known.name for known in found[:3]) + (", ..." if len(found) > 3 else "")
        raise UsageError(f"{len(found)} runs in {output} begin with {name!r} ({names}); write more of the name")
    where = f"there is no run {name!r} in {output}" if is_id else f"{name or '.'} is not the folder of a run"
    raise UsageError(f"{where}; `constellation runs list --output {output}` shows what there is")


def _last(output: Path) -> Path:
    runs = read_runs(output)
    if not runs:
        raise UsageError(f"there is no run in {output} yet; start one, or name another folder with --output")
    return runs[-1].path


def _state_of(state: str, is_running: bool | None) -> str:
    if is_running:
        return RUNNING
    if state != UNFINISHED:
        return state
    return UNFINISHED if is_running is None else KILLED


def _settings_of(path: Path, started: Row) -> Mapping[str, object]:
    """Take the settings from the events, or from ``config.toml`` of a run that was killed before its first one."""
    if started:
        return started
    try:
        return load_toml(path / folders.CONFIG_FILE)
    except ConfigError:
        return {}
