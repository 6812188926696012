"""Reads somebody's Flower App: what its pyproject.toml says, with ``-c`` on top, as ``flwr run`` reads them."""

from __future__ import annotations

import logging
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.engine import flwr_compat
from shared.errors import ConfigError

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowerApp:
    """What an app's pyproject.toml says."""

    folder: Path  # absolute
    name: str
    server_app: str  # "module:attribute"
    client_app: str
    run_config: Mapping[str, bool | int | float | str]


def read_flower_app(folder: Path, overrides: Sequence[str] = ()) -> FlowerApp:
    """Read an app's folder.

    Args:
        folder: It holds the app's pyproject.toml.
        overrides: The ``-c`` arguments of ``flwr run``: ``key=value ...`` each, or a single TOML file.

    Raises:
        ConfigError: There is no app, or a setting is unknown.
    """
    folder = folder.expanduser().absolute()
    path = folder / "pyproject.toml"
    pyproject = _read_pyproject(folder, path)
    section = _table(_table(_table(pyproject, "tool"), "flwr"), "app")
    if not section:
        raise ConfigError(f"{path} has no [tool.flwr.app] section: it does not describe a Flower App")
    app = FlowerApp(
        folder=folder,
        name=str(_table(pyproject, "project").get("name", folder.name)),
        server_app=_component(section, "serverapp", path),
        client_app=_component(section, "clientapp", path),
        run_config=_run_config(section, overrides, path),
    )
    for complaint in flwr_compat.complaints_about(pyproject):
        _LOG.warning("flwr run would refuse this app: %s", complaint)
    return app


def _read_pyproject(folder: Path, path: Path) -> dict[str, object]:
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise ConfigError(f"the app {folder} {what}: give the folder that holds the app's pyproject.toml")
    if not path.is_file():
        raise ConfigError(f"{folder} has no pyproject.toml: give the folder of a Flower App")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error


def _table(parent: Mapping[str, object], key: str) -> dict[str, object]:
    found = parent.get(key)
    return dict(found) if isinstance(found, dict) else {}


def _component(section: Mapping[str, object], key: str, path: Path) -> str:
    found = _table(section, "components").get(key)
    if found is None:
        raise ConfigError(f"{path} names no {key}: add {key} = 'module:attribute' to [tool.flwr.app.components]")
    module, colon, attribute = str(found).partition(":")
    names = [*module.split("."), *attribute.split(".")]
    if not isinstance(found, str) or not colon or not all(name.isidentifier() for name in names):
        raise ConfigError(f"{path}: {key} = {found!r} is not of the form 'module:attribute'")
    return found


def _run_config(
    section: Mapping[str, object], overrides: Sequence[str], path: Path
) -> dict[str, bool | int | float | str]:
    try:
        settings = flwr_compat.flatten_settings(_table(section, "config"))
    except ValueError as error:
        raise ConfigError(f"{path}: in [tool.flwr.app.config], {error}") from error
    for key, value in _parse(overrides).items():
        if key not in settings:
            known = ", ".join(sorted(settings)) or "none at all"
            raise ConfigError(f"-c: the app has no setting {key!r} in [tool.flwr.app.config]; it has {known}")
        settings[key] = value
    return settings


def _parse(overrides: Sequence[str]) -> dict[str, bool | int | float | str]:
    """Read the overrides one by one: Flower's own merge loses the first of ``-c a.b=1 -c a.c=2``."""
    is_file = [text.strip().endswith(".toml") for text in overrides]
    if any(is_file) and len(overrides) > 1:
        raise ConfigError("-c: a TOML file cannot be combined with other -c options")
    parsed: dict[str, bool | int | float | str] = {}
    for text in overrides:
        try:
            found = flwr_compat.parse_overrides([text.strip()])
        except (OSError, ValueError) as error:
            raise ConfigError(f"-c {text!r}: {error}") from error
        if not found and text.strip() and not any(is_file):
            raise ConfigError(f"-c {text!r} is not of the form 'key=value key=value'")
        parsed |= found
    return parsed
