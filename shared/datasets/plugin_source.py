"""A person's own data code, named ``"pkg.mod:attr"``.

Two forms, told apart by their signature:

* a function with a positional parameter ``num_clients`` or ``num_partitions``, or with two or more required ones, is
  ``f(client_id, num_clients, **kw) -> (train_loader, test_loader)``. ``client_id`` is the partition id, from 0. Of
  ``batch_size``, ``seed``, ``data_dir`` and ``config`` it is given, by name, those it has a parameter for; with
  ``**kw`` it is given the first three.
* any other function returns a ``Dataset``; it is given ``config=`` (the ``RunConfig``) if it has such a parameter.

A module-level ``Dataset`` works as well.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from shared.config import RunConfig
from shared.datasets.dataset import Dataset
from shared.errors import ConstellationError, PluginError
from shared.plugins import load_plugin

Batches = Iterable[Any]  # of (inputs, labels) pairs, or of mappings as Flower Datasets' loaders yield them

_LOADER_PARAMETERS = frozenset({"num_clients", "num_partitions"})
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderSource:
    """A function of the form ``f(client_id, num_clients, **kw) -> (train_loader, test_loader)``.

    Attributes:
        name: Its ``"pkg.mod:attr"``.
        function: The function.
        extra: What it is called with besides its two positional arguments.
    """

    name: str
    function: Callable[..., object]
    extra: Mapping[str, object]

    def loaders(self, client_id: int, num_clients: int) -> tuple[Batches, Batches]:
        """Call the function.

        Raises:
            PluginError: It failed, or did not return two iterables.
        """
        found = _call(self.name, lambda: self.function(client_id, num_clients, **self.extra))
        if not isinstance(found, (tuple, list)) or len(found) != 2 or not all(map(_is_reiterable, found)):
            raise PluginError(
                f"dataset {self.name!r} must return (train_loader, test_loader), two DataLoaders or lists of batches, "
                f"got {describe(found)}"
            )
        return found[0], found[1]


def resolve_plugin(name: str, config: RunConfig) -> Dataset | LoaderSource:
    """Turn ``"pkg.mod:attr"`` into a data set or a source of loaders.

    Raises:
        PluginError: It cannot be imported, fails, or returns something else.
    """
    found = load_plugin(name, what="dataset")
    if isinstance(found, Dataset):
        return found
    if not callable(found):
        raise PluginError(f"dataset {name!r} must be a function that returns a Dataset, got {describe(found)}")
    parameters = _parameters(found)
    if _is_loader_form(parameters):
        return LoaderSource(name=name, function=found, extra=_extra_arguments(name, parameters, config))
    arguments = {"config": config} if "config" in parameters else {}
    dataset = _call(name, lambda: found(**arguments))
    if not isinstance(dataset, Dataset):
        raise PluginError(
            f"dataset {name!r} must return a shared.datasets.dataset.Dataset, got {describe(dataset)}; "
            "a function that returns loaders takes (client_id, num_clients, **kw)"
        )
    return dataset


def _parameters(function: Callable[..., object]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):  # some built-ins have no signature
        return {}


def _is_loader_form(parameters: Mapping[str, inspect.Parameter]) -> bool:
    positional = [p for p in parameters.values() if p.kind in _POSITIONAL]
    required = [p for p in positional if p.default is p.empty]
    return len(required) >= 2 or not _LOADER_PARAMETERS.isdisjoint(p.name for p in positional)


def _extra_arguments(name: str, parameters: Mapping[str, inspect.Parameter], config: RunConfig) -> dict[str, object]:
    offered: dict[str, object] = {"batch_size": config.batch_size, "seed": config.seed, "data_dir": config.data_dir}
    named = [p for p in list(parameters.values())[2:] if p.kind is not inspect.Parameter.VAR_POSITIONAL]
    if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in named):
        offered = {key: value for key, value in {**offered, "config": config}.items() if key in parameters}
    elif "config" in parameters:
        offered["config"] = config
    unknown = [p.name for p in named if p.default is p.empty and p.kind is not p.VAR_KEYWORD and p.name not in offered]
    if unknown:
        raise PluginError(
            f"dataset {name!r} wants {', '.join(unknown)} and is given client_id, num_clients and, by name, "
            "batch_size, seed, data_dir and config; give the others a default"
        )
    return offered


def _call(name: str, call: Callable[[], object]) -> object:
    try:
        return call()
    except ConstellationError:
        raise
    except Exception as error:  # a person's own code may fail in any way: it is their code we report on
        raise PluginError(f"dataset {name!r} failed: {type(error).__name__}: {error}") from error


def _is_reiterable(found: object) -> bool:
    return isinstance(found, Iterable) and not isinstance(found, (Iterator, str, bytes, Tensor))


def describe(found: object) -> str:
    """Name a value's type for an error's sentence; never its content."""
    if isinstance(found, (tuple, list)):
        return f"{type(found).__name__} of ({', '.join(type(item).__name__ for item in found)})"
    return type(found).__name__
