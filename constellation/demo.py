"""``run_demo.py``: a federation on this machine, watched in the terminal, with a report in the end."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from constellation.exit_codes import INTERRUPTED
from constellation.options import resolve, resolve_resumed
from shared.config import RunConfig, unusual_settings

_LEVELS = ("debug", "info", "warning", "error")


def demo(
    settings: dict[str, object],
    config_file: Annotated[Path | None, typer.Option("--config", help="TOML file of settings")] = None,
    resume: Annotated[Path | None, typer.Option("--resume", help="go on with the run in this folder")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object and nothing else")] = False,
    log_level: Annotated[str, typer.Option("--log-level", help=", ".join(_LEVELS))] = "warning",
    log_file: Annotated[Path | None, typer.Option("--log-file", help="write the log there")] = None,
) -> None:
    """Resolve the settings, run, and show what came of it."""
    from constellation.folders import open_run_dir

    config = resolve_resumed(open_run_dir(resume), settings) if resume else resolve(settings, config_file)
    console = Console(stderr=as_json)
    for sentence in unusual_settings(config):
        Console(stderr=True, highlight=False).print(f"warning: {sentence}", markup=False)
    set_up_logging(log_level, log_file)
    run_once(config, console, as_json=as_json, resume=resume)


def run_once(config: RunConfig, console: Console, *, as_json: bool, resume: Path | None) -> None:
    """Run one federation and print its results."""
    from constellation.training import run
    from monitor.terminal import TerminalView

    sinks = [] if as_json else [TerminalView(console)]
    result = run(config, sinks=sinks, resume=resume)
    if as_json:
        typer.echo(json.dumps(result.to_json()))
    if result.state == "interrupted":
        raise typer.Exit(INTERRUPTED)
    if not as_json:
        console.print(f"results in {result.output}", markup=False, highlight=False)


def set_up_logging(level: str, log_file: Path | None) -> None:
    """Send our log, and Flower's, to stderr or to a file."""
    from shared.errors import ConfigError

    if level not in _LEVELS:
        raise ConfigError(f"log-level must be one of {', '.join(_LEVELS)}, got {level!r}")
    handler = logging.FileHandler(log_file) if log_file else logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    import flwr.common  # noqa: F401 - its logger gets its own handler when it is imported, which we then replace

    flower = logging.getLogger("flwr")
    flower.handlers.clear()
    flower.setLevel(max(logging.getLevelName(level.upper()), logging.WARNING if level != "debug" else 0))
