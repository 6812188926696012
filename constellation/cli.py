"""The ``constellation`` command; ``run_demo.py`` is its ``demo``."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence

import click
import typer
from rich.console import Console

from constellation import commands
from constellation.argument_help import command_of
from constellation.exit_codes import INTERRUPTED
from monitor.words import clean
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
    _open_missing_streams()
    _end_cleanly_on_sigterm()
    sys.exit(call(build_app(), arguments))


def demo() -> None:
    """Run ``constellation demo`` with this script's arguments."""
    _script(commands.register_demo)


def server() -> None:
    """Run ``constellation server`` with this script's arguments."""
    _script(commands.register_server)


def client() -> None:
    """Run ``constellation client`` with this script's arguments."""
    _script(commands.register_client)


def _script(register: Callable[[typer.Typer], None]) -> None:
    _open_missing_streams()
    _end_cleanly_on_sigterm()
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    register(app)  # alone in its app, it needs no name: `run_demo.py --help`
    sys.exit(call(app, sys.argv[1:]))


def call(app: typer.Typer, arguments: Sequence[str] | None) -> int:
    """Run a command and return its exit code: 0 done, 1 failed, 2 bad usage, 130 interrupted."""
    try:
        code = command_of(app)(args=None if arguments is None else list(arguments), standalone_mode=False)
        return code if isinstance(code, int) else 0
    except ConstellationError as error:
        _say(str(error))
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return 2
    except click.ClickException as error:
        context = error.ctx if isinstance(error, click.UsageError) else None
        command = f"{context.command_path} " if context else ""
        _say(f"{error.format_message().rstrip('.')}; see {command}--help")
        return 2
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED


def _say(sentence: str) -> None:
    """Print an error on one line; a file's name or content in it cannot move the cursor."""
    sentence = clean(sentence, limit=4096)
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"error: {sentence}", markup=False)


def _open_missing_streams() -> None:
    """Open the standard streams that whoever started us has closed: else our first file or socket gets their number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - as long as the process


def _end_cleanly_on_sigterm() -> None:
    """End on SIGTERM as on Ctrl-C: the workers are ended, the run is closed and can go on."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
