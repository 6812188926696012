"""``constellation runs``: what is in an output folder: list, show, compare, clean."""

from __future__ import annotations

import json
import sys
import time
from typing import Annotated

import click
import typer
from rich.console import Console

from constellation import cleaning
from constellation.recorded_runs import read_run, read_runs
from constellation.run_arguments import AsJson, Output, Run, output_of, run_dir_of
from constellation.run_tables import comparison_to_json, list_runs, run_to_json, show_comparison, show_run
from monitor.words import clean, plural
from shared.errors import UsageError


def register(app: typer.Typer) -> None:
    """Give ``app`` the command group ``runs``."""
    group = typer.Typer(name="runs", help="List, show, compare and remove runs.", no_args_is_help=True)
    group.command("list", help="List the runs of a folder, the newest last.")(list_command)
    group.command("show", help="Show one run: settings, rounds, refusals.")(show_command)
    group.command("compare", help="Compare runs: settings that differ, figures, accuracy by round.")(compare_command)
    group.command("clean", help="Remove runs; asks first.")(clean_command)
    app.add_typer(group)


def list_command(output: Output = None, as_json: AsJson = False) -> None:
    """List the runs of a folder."""
    folder = output_of(output)
    runs = read_runs(folder)
    if as_json:
        typer.echo(json.dumps({"output": str(folder), "runs": [run.to_json() for run in runs]}))
    else:
        list_runs(runs, folder, time.time(), _console())


def show_command(
    run: Run,
    output: Output = None,
    settings: Annotated[bool, typer.Option("--all-settings", help="show settings that are defaults too")] = False,
    as_json: AsJson = False,
) -> None:
    """Show one run."""
    found = read_run(run_dir_of(run, output))
    if as_json:
        typer.echo(json.dumps(run_to_json(found)))
    else:
        show_run(found, time.time(), _console(), has_defaults=settings)


def compare_command(
    runs: Annotated[list[str], typer.Argument(metavar="RUN RUN...", help="two or more runs")],
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Compare two or more runs."""
    paths = [run_dir_of(name, output) for name in runs]
    if len({path.resolve() for path in paths}) < 2:
        raise UsageError("compare needs two different runs; `constellation runs list` shows what there is")
    found = [read_run(path) for path in paths]
    if as_json:
        typer.echo(json.dumps(comparison_to_json(found)))
    else:
        show_comparison(found, _console())


def clean_command(
    output: Output = None,
    not_completed: Annotated[bool, typer.Option("--not-completed", help="remove runs that did not complete")] = False,
    older_than: Annotated[
        float | None, typer.Option("--older-than", metavar="DAYS", help="remove runs that began before")
    ] = None,
    keep: Annotated[
        int | None, typer.Option("--keep", metavar="K", help="spare the newest K; alone, remove all others")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be removed, and remove nothing")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove runs that are not wanted any more; a run under way always stays."""
    rules = cleaning.Rules(not_completed=not_completed, older_than_days=older_than, keep_last=keep)
    folder = output_of(output)
    doomed = cleaning.choose(read_runs(folder), rules, time.time())
    num_bytes = sum(cleaning.size_of(run.path) for run in doomed)
    console = Console(stderr=as_json, highlight=False, soft_wrap=True)
    for run in doomed:
        console.print(f"{clean(run.run_id)}  {run.state}", markup=False)
    what = f"{plural(len(doomed), 'run')} in {folder}, {num_bytes / 1e6:.1f} MB"
    if doomed and not dry_run:
        _ask(what, is_sure=yes)
        for run in doomed:
            cleaning.remove(run.path)
    if as_json:
        names = [run.run_id for run in doomed]
        typer.echo(json.dumps({"output": str(folder), "removed": [] if dry_run else names, "chosen": names}))
    else:
        console.print(f"{'would remove' if dry_run else 'removed'} {what}", markup=False)


def _ask(what: str, *, is_sure: bool) -> None:
    """Ask whether to remove.

    Raises:
        UsageError: Nobody is there to answer.
        click.exceptions.Exit: The answer is no.
    """
    if is_sure:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"nobody is there to say yes to removing {what}; add --yes to remove them unasked")
    if not click.confirm(f"remove {what}?", err=True):
        typer.echo("nothing was removed", err=True)
        raise typer.Exit(1)


def _console() -> Console:
    return Console(highlight=False)
