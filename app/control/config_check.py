"""Judges the settings of a new run before anything is made: what can be told without torch, in one sentence."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Mapping

from app.control.names import CHOICES, OWN_ALLOWED
from app.storage.views import Scalar, View
from shared.config import RunConfig, field_of, from_mapping, unusual_settings
from shared.errors import ConfigError, DatasetError, UsageError
from shared.plugins import FILE_SOURCES, is_plugin

_NAMED = ("dataset", "model", "strategy", "aggregation", "engine")
_UNKNOWN_KEY = re.compile(r"unknown key '([^']*)'")
_FIRST_WORD = re.compile(r"([a-z][a-z0-9-]*)\b")
_DASHBOARDS_OWN = ("output", "web-port", "no-dashboard")  # a run from the page has them from its dashboard


class CheckedConfig(View):
    """Settings as a run would have them, and the same as a file and as a command."""

    config: dict[str, Scalar]  # every setting, resolved
    warnings: tuple[str, ...]
    toml: str  # only what differs from the defaults
    command: str


def check_config(config: Mapping[str, object]) -> RunConfig:
    """Read settings, and refuse what no run could be started with.

    Raises:
        ConfigError: A key or a value cannot be used; ``key_of_error`` tells which.
    """
    settings = from_mapping(config, where="the request")
    for key in _NAMED:
        _check_name(key, getattr(settings, field_of(key)))
    return settings


def explain(config: Mapping[str, object]) -> CheckedConfig:
    """Show what a run with these settings would be.

    Raises:
        ConfigError: They cannot be used.
    """
    settings = check_config(config)
    changed = changed_settings(settings)
    lines = RunConfig().to_toml().splitlines(keepends=True), settings.to_toml().splitlines(keepends=True)
    toml = "".join(now for default, now in zip(*lines, strict=True) if now != default)
    return CheckedConfig(
        config=settings.as_flat(),
        warnings=tuple(unusual_settings(settings)),
        toml=toml or "# every setting has its default\n",
        command=" ".join(["constellation", "demo", *_options(changed)]),
    )


def changed_settings(settings: RunConfig) -> dict[str, Scalar]:
    """Return the settings that are not the defaults."""
    defaults = RunConfig().as_flat()
    return {key: value for key, value in settings.as_flat().items() if value != defaults[key]}


def key_of_error(error: UsageError) -> str:
    """Return the key that an error is about, "" where it is about none: our sentences begin with it."""
    sentence = str(error)
    if found := _UNKNOWN_KEY.match(sentence):
        return found[1]
    word = _FIRST_WORD.match(sentence)
    if word and word[1] in RunConfig().as_flat():
        return word[1]
    return "dataset" if isinstance(error, DatasetError) else ""


def without_dashboards_own(config: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Leave out what is the dashboard's to say."""
    return {key: value for key, value in config.items() if key not in _DASHBOARDS_OWN}


def _check_name(key: str, name: str) -> None:
    if name in CHOICES[key] or (key in OWN_ALLOWED and is_plugin(name)):
        return
    if key == "dataset" and name.partition(":")[0] in FILE_SOURCES and name.partition(":")[2]:
        return
    near = difflib.get_close_matches(name.lower().replace("_", "-"), CHOICES[key], n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    more = " or pkg.mod:attr" if key in OWN_ALLOWED else ""
    names = ", ".join(choice for choice in CHOICES[key] if choice)
    raise ConfigError(f"{key} must be one of {names}{more}, got {name!r}{hint}")


def _options(changed: Mapping[str, Scalar]) -> list[str]:
    options: list[str] = []
    for key, value in changed.items():
        if isinstance(value, bool):
            options.append(f"--{key}" if value else f"--no-{key}")
        elif key == "attack":
            options += [word for attack in str(value).split(",") for word in ("--attack", shlex.quote(attack))]
        else:
            options += [f"--{key}", shlex.quote(str(value))]
    return options
