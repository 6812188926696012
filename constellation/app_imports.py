"""Imports somebody's app from its folder, in a process that holds packages of ours with everyday names."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, TracebackType
from typing import TypeVar

from shared.errors import PluginError

_LOG = logging.getLogger(__name__)
_OURS = ("app", "client", "constellation", "mesh", "monitor", "shared")
_App = TypeVar("_App")


@contextmanager
def app_on_path(folder: Path) -> Iterator[None]:
    """Put an app's folder on the path, and take back all that was imported from it in the end."""
    before = set(sys.modules)
    hidden = put_on_path(folder)
    try:
        yield
    finally:
        if str(folder) in sys.path:
            sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            if _is_from(sys.modules[name], folder):
                del sys.modules[name]
        for name in {known.partition(".")[0] for known in hidden}:
            _forget(name)
        sys.modules.update(hidden)


def put_on_path(folder: Path) -> dict[str, ModuleType]:
    """Put an app's folder first on ``sys.path``.

    An app may well call a module of its own ``client`` or ``app``, as we do. Where it does, ours are put aside: code
    of ours keeps what it has imported, and must import nothing more from then on.

    Returns:
        The modules of ours that were put aside, by name.
    """
    hidden = _put_ours_aside(folder)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    return hidden


def load_component(reference: str, kind: type[_App], folder: Path) -> _App:
    """Import the object that ``"module:attribute"`` names.

    Raises:
        PluginError: It cannot be imported, or is not of this kind.
    """
    module_name, _, attribute = reference.partition(":")
    what = f"the {kind.__name__} {reference!r} of {folder}"
    try:
        found: object = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        _LOG.debug("importing %s failed", module_name, exc_info=error)
        where = last_line_in(folder, error.__traceback__)
        advice = "; install what the app needs first" if isinstance(error, ModuleNotFoundError) else ""
        raise PluginError(f"{what} cannot be imported: {type(error).__name__}: {error}{where}{advice}") from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise PluginError(f"{what} is not there: the module {module_name!r} has no {attribute!r}")
        found = getattr(found, part)
    if not isinstance(found, kind):
        raise PluginError(f"{what} is not one: it is a {type(found).__name__}")
    return found


def last_line_in(folder: Path, trace: TracebackType | None) -> str:
    """Return " (at FILE:LINE)" for the innermost line of the app's own code in a traceback, or nothing."""
    for frame in reversed(traceback.extract_tb(trace)):
        if Path(frame.filename).is_relative_to(folder):
            return f" (at {frame.filename}:{frame.lineno})"
    return ""


def _put_ours_aside(folder: Path) -> dict[str, ModuleType]:
    hidden: dict[str, ModuleType] = {}
    for name in _OURS:
        package = folder / name
        is_theirs = package.is_dir() or package.with_suffix(".py").is_file()
        if not is_theirs or _is_ours(package):
            continue
        hidden |= _forget(name)
        if not (package / "__init__.py").is_file() and not package.with_suffix(".py").is_file():
            # A folder without __init__.py would lose against our installed package, wherever that stands.
            sys.modules[name] = ModuleType(name)
            sys.modules[name].__path__ = [str(package)]
    return hidden


def _is_ours(package: Path) -> bool:
    """Tell whether this is our own repository, which is a Flower App too."""
    init = package / "__init__.py"
    spec = importlib.util.find_spec(package.name)
    return spec is not None and spec.origin is not None and init.is_file() and init.samefile(spec.origin)


def _forget(name: str) -> dict[str, ModuleType]:
    mine = [known for known in sys.modules if known == name or known.startswith(f"{name}.")]
    return {known: sys.modules.pop(known) for known in mine}


def _is_from(module: ModuleType, folder: Path) -> bool:
    origin = getattr(module, "__file__", None)
    return origin is not None and Path(origin).is_relative_to(folder) and "site-packages" not in Path(origin).parts
