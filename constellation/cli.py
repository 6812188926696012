"""The ``constellation`` command; ``run_demo.py`` is its ``demo``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click
import typer
from rich.console import Console

from constellation import commands
from constellation.exit_codes import INTERRUPTED
from shared.errors import ConstellationError


def build_app() -> typer.Typer:
    """Build the command with its subcommands."""
    app = typer.Typer(
        name="constellation",
        help="Federated learning for Flower: verified updates, fast rounds.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(lambda: None)  # a command of its own for each subcommand, even while there is one
    commands.register(app)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; every failure that a user can cause is one sentence and an exit code."""
    sys.exit(call(build_app(), arguments))


def demo() -> None:
    """Run ``constellation demo`` with this script's arguments."""
    sys.exit(call(build_app(), ["demo", *sys.argv[1:]]))


def call(app: typer.Typer, arguments: Sequence[str] | None) -> int:
    """Run a command and return its exit code: 0 done, 1 failed, 2 bad usage, 130 interrupted."""
    try:
        code = app(args=None if arguments is None else list(arguments), standalone_mode=False)
        return code if isinstance(code, int) else 0
    except ConstellationError as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"error: {error}", markup=False)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return 2
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
