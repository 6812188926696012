"""Removes runs: which ones is a pure choice, and removing never leaves a run's own folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app import run_lock
from app.run_folder import is_run_dir
from constellation.recorded_runs import COMPLETED, RUNNING, RecordedRun
from shared.errors import ConstellationError, UsageError

_DAY_S = 86_400
_PREFIX = ".removing-"  # hidden: a removal that was interrupted leaves no half run in any list


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Which runs go. A run under way always stays."""

    not_completed: bool = False
    older_than_days: float | None = None
    keep_last: int | None = None  # the newest so many stay, whatever else; alone, all others go

    def __post_init__(self) -> None:
        """Check that something was asked for.

        Raises:
            UsageError: No rule was given, or a number is negative.
        """
        if not self.not_completed and self.older_than_days is None and self.keep_last is None:
            raise UsageError("nothing says which runs to remove; give --not-completed, --older-than DAYS or --keep K")
        for flag, value in (("--older-than", self.older_than_days), ("--keep", self.keep_last)):
            if value is not None and not value >= 0:
                raise UsageError(f"{flag} must be 0 or more, got {value:g}")


def choose(runs: Sequence[RecordedRun], rules: Rules, now: float) -> list[RecordedRun]:
    """Choose what goes.

    Args:
        runs: All runs, the newest last.
        rules: Which ones go.
        now: Unix seconds.
    """
    spared = {run.path for run in runs[len(runs) - min(len(runs), rules.keep_last or 0) :]}
    only_keep = not rules.not_completed and rules.older_than_days is None

    def goes(run: RecordedRun) -> bool:
        is_old = rules.older_than_days is not None and now - run.started_ts > rules.older_than_days * _DAY_S
        return only_keep or is_old or (rules.not_completed and run.state != COMPLETED)

    return [run for run in runs if run.state != RUNNING and run.path not in spared and goes(run)]


def size_of(run_dir: Path) -> int:
    """Return the bytes of the files in a run's folder; links count as themselves."""
    total = 0
    for folder, _, names in os.walk(run_dir):
        for name in names:
            try:
                total += os.lstat(Path(folder) / name).st_size
            except OSError:  # it is just being removed
                continue
    return total


def remove(run_dir: Path) -> None:
    """Remove a run's folder; nothing a link in it points to is touched.

    Raises:
        UsageError: It is not a run's folder, or another process works on it.
        ConstellationError: It cannot be removed.
    """
    if not is_run_dir(run_dir):
        raise UsageError(f"{run_dir} is not the folder of a run; it was not touched")
    with run_lock.held(run_dir):
        doomed = run_dir.with_name(_PREFIX + run_dir.name)
        try:
            run_dir.rename(doomed)
            shutil.rmtree(doomed)  # looks at each entry by descriptor and does not follow links
        except OSError as error:
            raise ConstellationError(
                f"run {run_dir} cannot be removed: {error.strerror or error}; check the rights of its folder"
            ) from error
