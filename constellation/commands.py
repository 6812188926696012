"""The subcommands, each in the module that knows it; heavy imports wait until a command runs."""

from __future__ import annotations

import typer

from constellation.demo import demo
from constellation.options import with_run_options


def register(app: typer.Typer) -> None:
    """Give ``app`` its subcommands."""
    app.command("demo", help="Train a federation on this machine.")(with_run_options(demo))
