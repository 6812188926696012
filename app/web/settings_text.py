"""A run's settings as a file and as a command: what somebody copies out of the page."""

from __future__ import annotations

import json
from collections.abc import Mapping

from app.control.config_check import explain
from app.storage.views import Scalar
from shared.errors import UsageError


def file_and_command(config: Mapping[str, Scalar]) -> tuple[str, str]:
    """Return the settings as TOML and as the command that does the same run.

    Settings of another version, or of a plugin that is not here, are shown as they are, without a command.
    """
    try:
        explained = explain(config)
    except UsageError:
        return "".join(f"{key} = {_toml_value(value)}\n" for key, value in config.items()), ""
    return explained.toml, explained.command


def _toml_value(value: Scalar) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value) if isinstance(value, str) else repr(value)  # a TOML basic string is a JSON string
