"""``constellation watch``: the terminal's live view of a run on a dashboard elsewhere."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

if TYPE_CHECKING:
    from monitor.watch import Row, Watcher


def watch(
    url: Annotated[str, typer.Argument(help="the dashboard, as http://127.0.0.1:5000")],
    run: Annotated[str, typer.Option("--run", help="the run's id; the newest one when left out")] = "",
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help="file with the dashboard's token, readable by you alone")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print each event as a line of JSON")] = False,
) -> None:
    """Follow a run until it is over, through restarts of the dashboard."""
    from monitor.reporting import destination
    from monitor.reporting.connection import Connection
    from monitor.watch import Watcher

    token = destination.token_file(token_file) if token_file else destination.fixed_token("")
    token()  # a file that cannot be used is said now
    connection = Connection(destination.parse_destination(url), token)
    try:
        (_lines if as_json else _view)(Watcher(connection, run))
    finally:
        connection.close()


def _view(watcher: Watcher) -> None:
    from monitor.terminal import TerminalView
    from monitor.watch import ViewScreen
    from monitor.watch import watch as follow

    with TerminalView(Console()) as view:
        follow(watcher, ViewScreen(view, _say), time.sleep)


def _lines(watcher: Watcher) -> None:
    from monitor.watch import JsonScreen
    from monitor.watch import watch as follow

    def write(row: Row) -> None:
        sys.stdout.write(json.dumps(row, allow_nan=False) + "\n")
        sys.stdout.flush()

    try:
        follow(watcher, JsonScreen(write, _say), time.sleep)
    except BrokenPipeError:  # whoever read the lines has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing is left to be flushed at the end


def _say(sentence: str) -> None:
    Console(stderr=True, highlight=False, soft_wrap=True).print(sentence, markup=False)
