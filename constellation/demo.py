"""``run_demo.py``: a federation on this machine, watched in the terminal, with a report in the end."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from constellation.exit_codes import INTERRUPTED
from constellation.options import resolve, resolve_resumed
from shared.config import RunConfig, unusual_settings
from shared.errors import ConfigError

if TYPE_CHECKING:
    from app.results import RunResult

_LEVELS = ("debug", "info", "warning", "error")


def demo(
    settings: dict[str, object],
    config_file: Annotated[Path | None, typer.Option("--config", help="TOML file of settings")] = None,
    resume: Annotated[Path | None, typer.Option("--resume", help="go on with the run in this folder")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object and nothing else")] = False,
    baselines: Annotated[bool, typer.Option("--baselines", help="also train centralised, and clients alone")] = False,
    seeds: Annotated[str, typer.Option("--seeds", help="repeat with these seeds, as 1,2,3")] = "",
    log_level: Annotated[str, typer.Option("--log-level", help=", ".join(_LEVELS))] = "warning",
    log_file: Annotated[Path | None, typer.Option("--log-file", help="write the log there")] = None,
) -> None:
    """Resolve the settings, run, and show what came of it."""
    from constellation.folders import open_run_dir

    if resume and config_file:
        raise ConfigError("config cannot be given with --resume: the run goes on with the settings it was started with")
    config = resolve_resumed(open_run_dir(resume), settings) if resume else resolve(settings, config_file)
    console = Console(stderr=as_json)
    for sentence in unusual_settings(config):
        Console(stderr=True, highlight=False).print(f"warning: {sentence}", markup=False)
    set_up_logging(log_level, log_file)
    wanted = parse_seeds(seeds) if seeds else [config.seed]
    if resume and seeds:
        raise ConfigError("seeds cannot be given with --resume: it goes on with one run")
    # A person's own dataset, model or strategy may print: beside the object, never into it.
    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        result = run_seeds(config, wanted, console, is_quiet=as_json, resume=resume, baselines=baselines)
    show(result, console, as_json=as_json)


def parse_seeds(text: str) -> list[int]:
    """Read ``1,2,3``.

    Raises:
        ConfigError: It is not a list of different whole numbers.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts) or len(set(parts)) != len(parts):
        raise ConfigError(f"seeds must be different whole numbers with commas between them, got {text!r}")
    return [int(part) for part in parts]


def run_seeds(
    config: RunConfig, seeds: list[int], console: Console, *, is_quiet: bool, resume: Path | None, baselines: bool
) -> RunResult:
    """Run once a seed; the last result holds all seeds' figures when there are several."""
    from app.results import write_figures
    from constellation.training import run
    from monitor.report import SeedRun
    from monitor.terminal import TerminalView

    done: list[SeedRun] = []
    for seed in seeds:
        view = None if is_quiet else TerminalView(console)
        result = run(
            replace(config, seed=seed),
            sinks=[view] if view else [],
            tick=view.tick if view else None,
            resume=resume,
            baselines=baselines,
        )
        done.append(SeedRun(seed=seed, accuracy=result.accuracy, loss=result.loss, run=result.run_id))
        if result.state != "completed":
            break
    if len(seeds) > 1:
        result = replace(result, seeds=tuple(done))
        write_figures(result)
    return result


def show(result: RunResult, console: Console, *, as_json: bool) -> None:
    """Print the results, and end with the exit code that goes with them."""
    if as_json:
        typer.echo(json.dumps(result.to_json()))
    else:
        for line in closing_lines(result):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    if result.state == "interrupted":
        raise typer.Exit(INTERRUPTED)


def closing_lines(result: RunResult) -> list[str]:
    """Say what came of it and where it lies."""
    from app.results import seeds_json
    from constellation.folders import REPORT_FILE

    lines: list[str] = []
    if (found := result.baselines) is not None:
        lines.append(
            f"baselines: centralised {found.centralised:.1%}, clients alone {found.local_mean:.1%} "
            f"(deviation {found.local_deviation:.1%})"
        )
    if result.seeds:
        figures = seeds_json(result.seeds)
        accuracy, deviation = figures["accuracy_mean"], figures["accuracy_deviation"]
        if isinstance(accuracy, float) and isinstance(deviation, float):
            lines.append(f"{len(result.seeds)} seeds: accuracy {accuracy:.1%}, deviation {deviation:.1%}")
    if result.state in ("stopped", "interrupted"):
        lines.append(f"to go on: constellation demo --resume {result.output}")
    return [*lines, f"report: {result.output / REPORT_FILE}"]


class _Stderr(logging.StreamHandler[Any]):
    """Writes to what stderr is at that moment: while the live view is up, that prints above it."""

    @property
    def stream(self) -> Any:
        """Return stderr."""
        return sys.stderr

    @stream.setter
    def stream(self, _: object) -> None:
        """Keep to stderr."""


def _is_news(record: logging.LogRecord) -> bool:
    """Drop Flower's warning that nobody evaluates where the settings say so."""
    return not record.getMessage().startswith("fraction_evaluate is set to 0.0")


def set_up_logging(level: str, log_file: Path | None) -> None:
    """Send our log, and Flower's, to stderr or to a file."""
    if level not in _LEVELS:
        raise ConfigError(f"log-level must be one of {', '.join(_LEVELS)}, got {level!r}")
    try:
        handler = logging.FileHandler(log_file) if log_file else _Stderr()
    except OSError as error:
        raise ConfigError(f"log-file {log_file} cannot be written: {error.strerror or error}; name another") from error
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    import flwr.common  # noqa: F401 - its logger gets its own handler when it is imported, which we then replace

    flower = logging.getLogger("flwr")
    flower.handlers.clear()
    flower.addFilter(_is_news)
    flower.setLevel(max(logging.getLevelName(level.upper()), logging.WARNING if level != "debug" else 0))
