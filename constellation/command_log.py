"""Where the log of a command goes: ours and Flower's, to stderr or to a file."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

from shared.errors import ConfigError

LEVELS = ("debug", "info", "warning", "error")


class _Stderr(logging.StreamHandler[Any]):
    """Writes to what stderr is at that moment: while the live view is up, that prints above it."""

    @property
    def stream(self) -> Any:
        """Return stderr."""
        return sys.stderr

    @stream.setter
    def stream(self, _: object) -> None:
        """Keep to stderr."""


def _is_news(record: logging.LogRecord) -> bool:
    """Drop Flower's warning that nobody evaluates where the settings say so."""
    return not record.getMessage().startswith("fraction_evaluate is set to 0.0")


def set_up_logging(level: str, log_file: Path | None) -> None:
    """Send our log, and Flower's, to stderr or to a file."""
    if level not in LEVELS:
        raise ConfigError(f"log-level must be one of {', '.join(LEVELS)}, got {level!r}")
    try:
        handler = logging.FileHandler(log_file) if log_file else _Stderr()
    except OSError as error:
        raise ConfigError(f"log-file {log_file} cannot be written: {error.strerror or error}; name another") from error
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    import flwr.common  # noqa: F401 - its logger gets its own handler when it is imported, which we then replace

    flower = logging.getLogger("flwr")
    flower.handlers.clear()
    flower.addFilter(_is_news)
    flower.setLevel(max(logging.getLevelName(level.upper()), logging.WARNING if level != "debug" else 0))
