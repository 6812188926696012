"""Which settings of a run may change when it goes on: how long and how, never what is computed."""

from __future__ import annotations

from pathlib import Path

from app.run_folder import CONFIG_FILE
from monitor.files import write_atomically
from shared.config import RunConfig
from shared.errors import ConfigError, RunFailed

_RESUMABLE = frozenset(
    {"num-rounds", "workers", "round-timeout-s", "no-dashboard", "web-port", "target-accuracy", "patience"}
)
_UNUSED = frozenset({"output"})  # the run stays in the folder it has


def check_resumable(stored: RunConfig, settings: RunConfig) -> None:
    """Compare the settings a run was started with and those it is to go on with.

    Raises:
        ConfigError: One differs that would make it another run.
    """
    before, now = stored.as_flat(), settings.as_flat()
    refused = sorted(key for key in now if now[key] != before[key] and key not in _RESUMABLE | _UNUSED)
    if refused:
        raise ConfigError(
            f"{refused[0]} cannot change when a run goes on; with --resume only {', '.join(sorted(_RESUMABLE))} may"
        )


def keep_settings(run_dir: Path, settings: RunConfig) -> None:
    """Write the settings a run goes on with, so that it goes on with them after the next kill too.

    Raises:
        RunFailed: The folder cannot be written.
    """
    try:
        write_atomically(run_dir / CONFIG_FILE, settings.to_toml())
    except OSError as error:
        raise RunFailed(
            f"{run_dir / CONFIG_FILE} cannot be written: {error.strerror or error}; free the disk, then --resume"
        ) from error
