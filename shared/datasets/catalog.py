"""Data sets by name.

To add one, write a function that returns a ``Dataset`` and name it: one line in ``DATASETS``, or ``"pkg.mod:attr"`` in
the settings. ``SOURCES`` are a person's own files: ``folder:PATH``, ``npz:PATH``, ``csv:PATH``.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path

from shared.config import RunConfig
from shared.datasets.csv_table import load_csv
from shared.datasets.dataset import Dataset
from shared.datasets.folder import load_folder
from shared.datasets.mnist_sample import load_mnist_sample
from shared.datasets.npz import load_npz
from shared.datasets.plugin_source import LoaderSource, resolve_plugin
from shared.datasets.synthetic import load_synthetic
from shared.datasets.torchvision_sets import load_cifar10, load_fashion_mnist, load_mnist
from shared.errors import DatasetError
from shared.plugins import is_plugin

DATASETS: dict[str, Callable[[RunConfig], Dataset]] = {
    "mnist-sample": load_mnist_sample,
    "mnist": load_mnist,
    "fashion-mnist": load_fashion_mnist,
    "cifar10": load_cifar10,
    "synthetic": load_synthetic,
}

SOURCES: dict[str, Callable[[Path, RunConfig], Dataset]] = {
    "folder": load_folder,
    "npz": load_npz,
    "csv": load_csv,
}


def load_dataset(config: RunConfig) -> Dataset | LoaderSource:
    """Load what ``config.dataset`` names.

    Raises:
        DatasetError: There is no such data set, or it cannot be loaded.
        PluginError: A ``pkg.mod:attr`` is not what a data set must be.
    """
    name = config.dataset
    if name in DATASETS:
        return DATASETS[name](config)
    prefix, colon, path = name.partition(":")
    if colon and prefix in SOURCES:
        if not path:
            raise DatasetError(f"dataset {name!r} names no path; write {prefix}:PATH")
        return SOURCES[prefix](Path(path).expanduser(), config)
    if is_plugin(name):
        return resolve_plugin(name, config)
    raise DatasetError(_unknown(name))


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name.lower().replace("_", "-"), DATASETS, n=1)
    hint = f"did you mean {near[0]}? Choose" if near else "choose"
    paths = ", ".join(f"{prefix}:PATH" for prefix in SOURCES)
    return f"unknown dataset {name!r}; {hint} one of {', '.join(DATASETS)}, {paths} or pkg.mod:attr"
