"""Command-line options out of ``RunConfig``: one place for names and defaults, one table for the words.

Every option's default is None: an option that was not given leaves the file's and the environment's settings alone.
"""

from __future__ import annotations

import functools
import inspect
import os
import typing
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from constellation.resuming import check_resumable
from shared.config import RunConfig, from_environment, from_mapping, key_of, load_toml, read_settings
from shared.config_help import HELP
from shared.errors import ConfigError


def _option(name: str, kind: type) -> inspect.Parameter:
    panel, text = HELP[name]
    flag = f"--{key_of(name)}"
    default = getattr(RunConfig(), name)
    if kind is not bool and default not in ("", ()):
        text += f"; default: {default:g}" if isinstance(default, float) else f"; default: {default}"
    declarations = [f"{flag}/--no-{key_of(name)}"] if kind is bool and default else [flag]
    annotation: Any = list[str] if kind is tuple else kind
    option = typer.Option(*declarations, help=text, rich_help_panel=panel)
    annotated = Annotated[annotation | None, option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotated)


def with_run_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each setting; it gets them as ``settings``, only those that were given."""
    hints = typing.get_type_hints(RunConfig)
    options = [
        _option(field.name, typing.get_origin(hints[field.name]) or hints[field.name]) for field in fields(RunConfig)
    ]
    names = {option.name for option in options}
    own = list(inspect.signature(command, eval_str=True).parameters.values())

    @functools.wraps(command)
    def wrapper(**arguments: Any) -> None:
        given = {name: arguments[name] for name in names if arguments.get(name) not in (None, [])}
        settings = {
            key_of(name): ",".join(value) if isinstance(value, list) else value for name, value in given.items()
        }
        command(settings=settings, **{name: value for name, value in arguments.items() if name not in names})

    parameters = [parameter for parameter in own if parameter.name != "settings"] + options
    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return wrapper


def resolve(
    settings: Mapping[str, object], config_file: Path | None, environment: Mapping[str, str] = os.environ
) -> RunConfig:
    """Lay the options over the environment, over the file, over the defaults.

    Raises:
        ConfigError: A key does not exist or a value is out of range.
    """
    layers: list[tuple[str, Mapping[str, object]]] = []
    if config_file is not None:
        layers.append((str(config_file), load_toml(config_file)))
    layers.append(("the environment", from_environment(environment)))
    layers.append(("the options", settings))
    merged: dict[str, Any] = {}
    where_of: dict[str, str] = {}
    for where, values in layers:
        merged |= read_settings(values, where=where)
        where_of |= dict.fromkeys(values, where)
    try:
        return RunConfig(**merged)  # judged together: a file's min-clients may go with the option --num-clients
    except ConfigError as error:
        where = where_of.get(str(error).split(maxsplit=1)[0], "the options")
        raise ConfigError(f"{error} (in {where})" if where != "the options" else str(error)) from error


def resolve_resumed(stored: RunConfig, settings: Mapping[str, object]) -> RunConfig:
    """Lay the few settings that may change over those a run was started with.

    Raises:
        ConfigError: Another setting was given: the run would not be the same run.
    """
    resumed = from_mapping(settings, where="the options", base=stored)
    check_resumable(stored, resumed)
    return resumed
