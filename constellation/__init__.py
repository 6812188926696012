"""The command line, ``run()`` for notebooks, presets: the only package that may import server and client.

``from constellation import run, RunConfig``; ``Dataset`` and ``CustomFedAvgStrategy`` are what own data and strategies
build on. The names are looked up when they are first used, so that importing the package, as the command line does,
loads neither torch nor Flower.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.results import RunResult
    from app.strategies.custom_fedavg import CustomFedAvgStrategy
    from constellation.training import run
    from shared.config import RunConfig
    from shared.datasets.dataset import Dataset
    from shared.errors import ConstellationError

__all__ = ["ConstellationError", "CustomFedAvgStrategy", "Dataset", "RunConfig", "RunResult", "run"]

_HOMES = {
    "ConstellationError": "shared.errors",
    "CustomFedAvgStrategy": "app.strategies.custom_fedavg",
    "Dataset": "shared.datasets.dataset",
    "RunConfig": "shared.config",
    "RunResult": "app.results",
    "run": "constellation.training",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
