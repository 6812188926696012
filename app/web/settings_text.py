"""The same settings as a file and as a command: what somebody copies out of the page."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping

from app.storage.views import Scalar
from shared.config import RunConfig, key_of

_DEFAULTS: dict[str, object] = {key_of(name): field.default for name, field in RunConfig.__dataclass_fields__.items()}
_NOT_IN_COMMAND = frozenset({"output", "web-port", "no-dashboard"})


def toml_text(config: Mapping[str, Scalar]) -> str:
    """Return the settings as a config.toml."""
    return "".join(f"{key} = {_toml_value(value)}\n" for key, value in config.items())


def command_line(config: Mapping[str, Scalar]) -> str:
    """Return the command that does the same run: what is not at its default."""
    words = ["constellation", "demo"]
    for key, value in config.items():
        if key in _NOT_IN_COMMAND or _DEFAULTS.get(key) == value:
            continue
        if isinstance(value, bool):
            words.append(f"--{key}" if value else f"--no-{key}")
        else:
            words += [f"--{key}", str(value)]
    return shlex.join(words)


def _toml_value(value: Scalar) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value) if isinstance(value, str) else repr(value)  # a TOML basic string is a JSON string
