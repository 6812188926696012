"""Gives arguments back their help text.

``TyperArgument`` sets ``help`` before it calls click's constructor, which since click 8.5 has a ``help`` of its own and
clears it.
"""

from __future__ import annotations

import inspect

import click
import typer
from typer.models import ArgumentInfo


def command_of(app: typer.Typer) -> click.Command:
    """Build the app's command, each argument with the help that its function's signature has."""
    command = typer.main.get_command(app)
    _restore(command)
    return command


def _restore(command: click.Command) -> None:
    if isinstance(command, click.Group):
        for child in command.commands.values():
            _restore(child)
    if command.callback is None:
        return
    signature = inspect.signature(command.callback, eval_str=True)
    for parameter in command.params:
        named = signature.parameters.get(parameter.name or "")
        if isinstance(parameter, click.Argument) and named is not None and not getattr(parameter, "help", None):
            found = [
                info.help for info in getattr(named.annotation, "__metadata__", ()) if isinstance(info, ArgumentInfo)
            ]
            parameter.help = found[0] if found else None
