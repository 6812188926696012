"""``run_demo.py``: a federation on this machine, watched in the terminal, with a report in the end."""

from __future__ import annotations

import contextlib
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from constellation.beside import Beside, dashboard_beside
from constellation.command_log import LEVELS, set_up_logging
from constellation.exit_codes import INTERRUPTED
from constellation.log_sinks import LOG_TO_HELP, log_sinks
from constellation.options import resolve, resolve_resumed
from shared.config import RunConfig, unusual_settings
from shared.errors import ConfigError

if TYPE_CHECKING:
    from app.results import RunResult


def demo(
    settings: dict[str, object],
    *,
    config_file: Annotated[Path | None, typer.Option("--config", help="TOML file of settings")] = None,
    resume: Annotated[Path | None, typer.Option("--resume", help="go on with the run in this folder")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object and nothing else")] = False,
    baselines: Annotated[bool, typer.Option("--baselines", help="also train centralised, and clients alone")] = False,
    seeds: Annotated[str, typer.Option("--seeds", help="repeat with these seeds, as 1,2,3")] = "",
    log_level: Annotated[str, typer.Option("--log-level", help=", ".join(LEVELS))] = "warning",
    log_file: Annotated[Path | None, typer.Option("--log-file", help="write the log there")] = None,
    log_to: Annotated[str, typer.Option("--log-to", help=LOG_TO_HELP)] = "",
    run_dir: Annotated[Path | None, typer.Option("--run-dir", hidden=True, help="folder prepared for the run")] = None,
) -> None:
    """Resolve the settings, run, and show what came of it."""
    config = _settings(settings, config_file, resume, run_dir)
    console = Console(stderr=as_json)
    for sentence in unusual_settings(config):
        Console(stderr=True, highlight=False).print(f"warning: {sentence}", markup=False)
    wanted = parse_seeds(seeds) if seeds else [config.seed]
    if (resume or run_dir) and seeds:
        raise ConfigError("seeds cannot be given with --resume: it goes on with one run")
    folder = resume or run_dir
    output = folder.resolve().parent if folder else Path(config.output)
    log_sinks(log_to, output)  # what is wrong with them is said before anything is started
    is_wanted = "web-port" in settings or config.web_port != RunConfig().web_port
    with dashboard_beside(config, output, console, is_port_wanted=is_wanted, is_supervised=bool(run_dir)) as beside:
        set_up_logging(log_level, log_file)
        import constellation.training  # noqa: F401 - takes seconds, in which the dashboard starts

        beside.introduce()
        runs = _Runs(
            console=console, is_quiet=as_json, resume=resume, run_dir=run_dir, baselines=baselines, log_to=log_to,
            output=output, beside=beside,
        )  # fmt: skip
        # A person's own dataset, model or strategy may print: beside the object, never into it.
        with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
            result = run_seeds(config, wanted, runs)
        show(result, console, as_json=as_json)
        if not as_json:
            beside.stay()


def _settings(
    settings: dict[str, object], config_file: Path | None, resume: Path | None, run_dir: Path | None
) -> RunConfig:
    from constellation.folders import open_run_dir

    if run_dir:  # all settings stand in the folder; neither the environment nor an option changes them
        return open_run_dir(run_dir)
    if resume and config_file:
        raise ConfigError("config cannot be given with --resume: the run goes on with the settings it was started with")
    return resolve_resumed(open_run_dir(resume), settings) if resume else resolve(settings, config_file)


def parse_seeds(text: str) -> list[int]:
    """Read ``1,2,3``.

    Raises:
        ConfigError: It is not a list of different whole numbers.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts) or len(set(parts)) != len(parts):
        raise ConfigError(f"seeds must be different whole numbers with commas between them, got {text!r}")
    return [int(part) for part in parts]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Runs:
    """How the runs of one command are started and shown."""

    console: Console
    is_quiet: bool
    resume: Path | None
    run_dir: Path | None
    baselines: bool
    log_to: str
    output: Path
    beside: Beside


def run_seeds(config: RunConfig, seeds: list[int], how: _Runs) -> RunResult:
    """Run once a seed; the last result holds all seeds' figures when there are several."""
    from app.results import write_figures
    from constellation.training import run
    from monitor.report import SeedRun
    from monitor.terminal import TerminalView

    done: list[SeedRun] = []
    for seed in seeds:
        view = None if how.is_quiet else TerminalView(how.console)
        reporting = how.beside.reporting()
        sinks = [*([view] if view else []), *log_sinks(how.log_to, how.output)]
        result = run(
            replace(config, seed=seed),
            sinks=[*sinks, reporting.sink] if reporting else sinks,
            sampler=reporting.sampler if reporting else None,
            tick=view.tick if view else None,
            resume=how.resume,
            run_dir=how.run_dir,
            baselines=how.baselines,
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
