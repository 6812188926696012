"""Resolves ``"pkg.mod:attr"``: a person's own data set, model or strategy, importable in every process."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from shared.errors import PluginError

# Data lies there: "folder:digits" is no module, though it reads like one.
FILE_SOURCES = ("folder", "npz", "csv")


def is_plugin(name: str) -> bool:
    """Tell ``"pkg.mod:attr"`` from a built-in name or a ``"folder:PATH"`` source."""
    module, colon, attribute = name.partition(":")
    parts = [*module.split("."), *attribute.split(".")]
    return bool(colon) and module not in FILE_SOURCES and all(part.isidentifier() for part in parts)


def load_plugin(name: str, *, what: str) -> object:
    """Import the object that ``"pkg.mod:attr"`` names.

    The current folder is importable, as it is for ``python -m``: a person's own file beside their notebook works.

    Args:
        name: The object's name.
        what: What it is wanted for, for the error's sentence ("model", "dataset").

    Raises:
        PluginError: The module or the attribute is not there, or the import itself failed.
    """
    if not is_plugin(name):
        raise PluginError(f"{what} {name!r} is not of the form 'pkg.mod:attr'")
    module_name, _, attribute = name.partition(":")
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)
    try:
        found: object = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # a person's module may fail in any way; it is their code we report on
        raise PluginError(
            f"{what} {name!r}: importing {module_name!r} failed ({type(error).__name__}: {error}); "
            "check the name and run from the folder that holds it"
        ) from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise PluginError(f"{what} {name!r}: {module_name!r} has no {attribute!r}")
        found = getattr(found, part)
    return found
