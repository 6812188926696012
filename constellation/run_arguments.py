"""Arguments and options that the commands for a finished run share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from constellation.recorded_runs import find_run
from shared.config import RunConfig, from_environment, from_mapping

Run = Annotated[str, typer.Argument(metavar="RUN", help="a run's id, the beginning of one, its folder, or 'last'")]
Output = Annotated[str | None, typer.Option("--output", help="folder that holds the runs; default: runs")]
DataDir = Annotated[str | None, typer.Option("--data-dir", help="where torchvision's data sets lie on this machine")]
Device = Annotated[str | None, typer.Option("--device", help="auto, cpu, cuda or mps; default: the run's")]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON object and nothing else")]


def local_settings() -> RunConfig:
    """Return the settings of this machine: the defaults, and what the environment says.

    Raises:
        ConfigError: A variable holds something that is no such setting.
    """
    return from_mapping(from_environment(), where="the environment")


def output_of(option: str | None) -> Path:
    """Return the folder of runs: the option's, or else the environment's, or else the default."""
    return Path(option if option is not None else local_settings().output)


def run_dir_of(name: str, output: str | None) -> Path:
    """Return the folder of the run that a person named.

    Raises:
        UsageError: There is no such run, or several begin like that.
    """
    return find_run(name, output_of(output))
