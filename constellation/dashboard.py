"""``constellation dashboard``: serves the pages and the API for a folder of runs, until it is ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from constellation.ports import port_for
from constellation.run_arguments import Output, local_settings, output_of
from shared.errors import UsageError

if TYPE_CHECKING:
    from app.control.processes import ProcessId

DATABASE = "CONSTELLATION_DATABASE"  # may hold a password, which a command line would show to everybody


def dashboard(
    output: Output = None,
    host: Annotated[str, typer.Option("--host", help="address to serve at; 0.0.0.0 is every network")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option("--port", min=0, max=65_535, help="default: 5000; 0 is any")] = None,
    database: Annotated[
        str, typer.Option("--database", envvar=DATABASE, show_envvar=True, help="default: SQLite beside the runs")
    ] = "",
    max_viewers: Annotated[
        int, typer.Option("--max-viewers", min=1, max=5_000, help="live pages at once; others poll")
    ] = 200,
    message_queue: Annotated[
        str, typer.Option("--message-queue", help="redis://... when several dashboards share a database")
    ] = "",
    parallel_runs: Annotated[
        int, typer.Option("--parallel-runs", min=1, max=64, help="runs under way at once; others wait")
    ] = 1,
    watched: Annotated[str, typer.Option("--end-with", hidden=True, help="PID:START of whom to end with")] = "",
) -> None:
    """Serve until Ctrl-C."""
    from app.control.dashboards import living_dashboard
    from app.web.serve import ServeOptions, main

    folder = output_of(output)
    if (other := living_dashboard(folder)) is not None:
        raise UsageError(
            f"a dashboard serves {folder} already at {other.url}; open that one, end it, or name another --output"
        )
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    wanted = port if port is not None else local_settings().web_port

    def say(sentence: str) -> None:
        console.print(sentence, markup=False)

    def ready(url: str, login_url: str) -> None:
        typer.echo(f"dashboard: {url}  (runs in {folder.resolve()}; Ctrl-C ends it, runs go on)")
        if not watched:  # whoever started us asks for a link itself: ours would stand in a log
            typer.echo(f"sign in to start and steer runs, once, within 10 minutes: {login_url}")

    code = main(
        ServeOptions(
            output=folder,
            host=host,
            port=port_for(host, wanted, option="--port", is_wanted=port is not None, say=say),
            database=database,
            max_viewers=max_viewers,
            message_queue=message_queue,
            parallel_runs=parallel_runs,
            parent=_process_of(watched),
            on_ready=ready,
        )
    )
    if code:
        raise typer.Exit(code)


def _process_of(text: str) -> ProcessId | None:
    """Read ``PID:START``.

    Raises:
        UsageError: It is no such thing.
    """
    from app.control.processes import ProcessId

    if not text:
        return None
    pid, _, start = text.partition(":")
    try:
        return ProcessId(pid=int(pid), create_time=float(start))
    except ValueError:
        raise UsageError(f"--end-with takes PID:START, got {text!r}") from None
