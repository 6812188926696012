"""A run's own folder: what its files are called, how it is made and opened."""

from __future__ import annotations

import secrets
import shutil
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from shared.config import RunConfig, from_mapping, load_toml
from shared.errors import CheckpointError, UsageError

CONFIG_FILE, EVENTS_FILE, METRICS_FILE = "config.toml", "events.jsonl", "metrics.csv"
PRIVACY_FOLDER = "privacy"  # the ledgers of clients that this machine plays
MODEL_FILE, REPORT_FILE, RESULT_FILE = "model.safetensors", "report.html", "report.json"


def new_run_id(now: datetime | None = None) -> str:
    """Make a run id that sorts by time and is never used twice."""
    return f"{now or datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


def create_run_dir(config: RunConfig, run_id: str) -> Path:
    """Make the run's folder with its ``config.toml``.

    Raises:
        UsageError: The folder cannot be written.
    """
    run_dir = Path(config.output) / run_id
    try:
        run_dir.mkdir(parents=True)
        try:
            (run_dir / CONFIG_FILE).write_text(config.to_toml(), encoding="utf-8")
        except OSError:
            shutil.rmtree(run_dir, ignore_errors=True)  # a full disk may let the folder be made and not the file
            raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise UsageError(f"output folder {run_dir} cannot be written: {reason}; name another with --output") from error
    return run_dir


def open_run_dir(run_dir: Path) -> RunConfig:
    """Read the settings of a run that is to go on.

    Raises:
        CheckpointError: There is no run in this folder, or something that is no file of a run: a link in a folder
            from somebody else would have the run write where it points.
    """
    if not (run_dir / CONFIG_FILE).is_file():
        raise CheckpointError(
            f"{run_dir} holds no run to resume (no {CONFIG_FILE}); name a run's own folder, "
            "RUNS/ID with an id that `constellation runs list` shows"
        )
    for entry in run_dir.iterdir():
        if entry.is_symlink() or not (entry.is_file() or entry.is_dir()):
            raise CheckpointError(f"{entry} is a link or no regular file; put the file itself in its place")
    path = run_dir / CONFIG_FILE
    return from_mapping(load_toml(path), where=str(path))


def is_run_dir(path: Path) -> bool:
    """Tell a run's own folder, with its settings and its events, from everything else; links are no runs."""
    return _is_real(path, stat.S_ISDIR) and all(is_regular_file(path / name) for name in (CONFIG_FILE, EVENTS_FILE))


def is_regular_file(path: Path) -> bool:
    """Tell a file from a link, a pipe and what is not there."""
    return _is_real(path, stat.S_ISREG)


def run_dirs(output: Path) -> list[Path]:
    """List the runs of an output folder, by name; none when there is no such folder.

    Raises:
        UsageError: The folder cannot be read.
    """
    try:
        return sorted(path for path in output.iterdir() if not path.name.startswith(".") and is_run_dir(path))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UsageError(
            f"output folder {output} cannot be read: {error.strerror}; name another with --output"
        ) from error


def _is_real(path: Path, is_kind: Callable[[int], bool]) -> bool:
    try:
        return is_kind(path.lstat().st_mode)
    except OSError:
        return False
