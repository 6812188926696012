"""``--log-to tensorboard,mlflow``: sinks of other people's trackers, by name."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path

from monitor.background import InBackground
from monitor.scalars import scalars_of
from shared.errors import ConfigError, UsageError
from shared.events import Event, EventSink, RunEnded, RunStarted

LOG_TO_HELP = "also write to tensorboard or mlflow, with commas between them; each needs its extra"


def log_sinks(names: str, output: Path) -> list[EventSink]:
    """Make the sinks for one run; ``output`` is the folder that holds the run's folder.

    Raises:
        ConfigError: There is no sink of that name.
        UsageError: Its package is not installed.
    """
    wanted = dict.fromkeys(name.strip() for name in names.split(",") if name.strip())
    for name in wanted:
        if name not in _SINKS:
            raise ConfigError(f"log-to must name {' or '.join(_SINKS)}, got {name!r}")
        if importlib.util.find_spec(name) is None:
            raise UsageError(f"{name} is not installed; pip install 'constellation-fl[{name}]'")
    return [InBackground(name, _SINKS[name](output), wanted=is_of_use) for name in wanted]


def is_of_use(event: Event) -> bool:
    """Tell whether a tracker has a place for an event: replies of single clients it has none for."""
    return isinstance(event, RunStarted | RunEnded) or bool(scalars_of(event)[1])


def _tensorboard(output: Path) -> Callable[[], EventSink]:
    def make() -> EventSink:
        from monitor.tensorboard_sink import TensorBoardSink

        return TensorBoardSink(output)

    return make


def _mlflow(output: Path) -> Callable[[], EventSink]:
    def make() -> EventSink:
        from monitor.mlflow_sink import MlflowSink, tracking_uri

        return MlflowSink(tracking_uri(output))

    return make


_SINKS: Mapping[str, Callable[[Path], Callable[[], EventSink]]] = {"tensorboard": _tensorboard, "mlflow": _mlflow}
