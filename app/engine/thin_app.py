"""The Flower App that is submitted to a SuperLink: settings and the names of the installed components, no code.

``flwr run`` wants a folder with a pyproject.toml; an installed package has none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from shared.config import RunConfig, Scalar
from shared.run_order import OWN_KEYS

PUBLISHER, NAME, VERSION = "constellation-fl", "constellation-fl", "0.1.0"


def write_thin_app(folder: Path) -> Path:
    """Write the app into ``folder``, the same bytes each time, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = {**RunConfig().as_flat(), **OWN_KEYS}
    lines = [
        "[project]",
        f'name = "{NAME}"',
        f'version = "{_version()}"',
        'description = "Runs the installed constellation-fl."',
        'license = "Apache-2.0"',
        "[tool.flwr.app]",
        f'publisher = "{PUBLISHER}"',
        'fab-include = ["README.md"]',
        "[tool.flwr.app.components]",
        'serverapp = "app.server_app:app"',
        'clientapp = "client.client_app:app"',
        "[tool.flwr.app.config]",
        *(f"{key} = {toml_value(value)}" for key, value in settings.items()),
    ]
    (folder / "pyproject.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "README.md").write_text("Settings for the installed constellation-fl; there is no code here.\n")
    return folder


def write_overrides(path: Path, settings: Mapping[str, Scalar]) -> Path:
    """Write settings as the file that ``flwr run -c`` reads; its ``key=value`` form cannot hold every text."""
    path.write_text("".join(f"{key} = {toml_value(value)}\n" for key, value in settings.items()), encoding="utf-8")
    return path


def toml_value(value: Scalar) -> str:
    """Write one value; JSON's text, numbers and booleans are TOML's too."""
    return json.dumps(value, ensure_ascii=False)


def _version() -> str:
    try:
        return metadata.version(NAME)
    except metadata.PackageNotFoundError:  # a checkout that is not installed
        return VERSION
