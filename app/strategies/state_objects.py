"""Tells attributes that are settings or code from those that may change, and notices when an unknown object changed."""

from __future__ import annotations

import dataclasses
import enum
import functools
import hashlib
import json
import logging
import types
from pathlib import PurePath

from app.strategies.state_values import Encoder

# What a strategy is built with and cannot change.
_MADE_AGAIN = (
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodType,
    types.ModuleType,
    functools.partial,
    logging.Logger,
    logging.LoggerAdapter,
    enum.Enum,
    PurePath,
    type,
)
_MAX_DEPTH = 12  # of objects within objects
_MAX_OBJECTS = 100_000  # looked at in one attribute


def is_made_again(value: object) -> bool:
    """Tell whether building the strategy again gives the same value: code, and settings that cannot be changed."""
    if isinstance(value, _MADE_AGAIN):
        return True
    parameters = getattr(type(value), "__dataclass_params__", None)
    return dataclasses.is_dataclass(value) and bool(getattr(parameters, "frozen", False))


def fingerprint(value: object) -> str:
    """Return the type of an object and a digest of all that can be seen in it, the same in every process.

    What Python cannot look into (a lock, a socket, an extension's object) counts by its type alone.
    """
    walk = _Walk()
    walk.visit(value, 0)
    kind = type(value)
    return f"{kind.__module__}.{kind.__qualname__} {walk.digest.hexdigest()}"


class _Walk:
    """Hashes an object, what it holds, and what that holds."""

    def __init__(self) -> None:
        self.digest = hashlib.sha256()
        self._order: dict[int, int] = {}  # id -> when it was first met: a cycle is hashed as a back reference
        self._kept: list[object] = []  # keeps ids from being used again during the walk

    def visit(self, value: object, depth: int) -> None:
        if id(value) in self._order:
            self._note(f"again {self._order[id(value)]}")
            return
        self._order[id(value)] = len(self._order)
        self._kept.append(value)
        kind = type(value)
        self._note(f"{kind.__module__}.{kind.__qualname__}")
        if is_made_again(value) or depth > _MAX_DEPTH or len(self._order) > _MAX_OBJECTS:
            return
        if not self._note_value(value):
            self._visit_parts(value, depth)

    def _note_value(self, value: object) -> bool:
        encoder = Encoder()
        try:
            text = json.dumps(encoder.encode(value))
        except TypeError:
            return False
        self._note(text)
        for array in encoder.arrays.values():
            self._note(f"{array.dtype} {array.shape}")
            self.digest.update(array.tobytes())
        return True

    def _visit_parts(self, value: object, depth: int) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                self.visit(key, depth + 1)
                self.visit(item, depth + 1)
        elif isinstance(value, list | tuple):
            for item in value:
                self.visit(item, depth + 1)
        for name, item in sorted(_attributes(value).items()):
            self._note(name)
            self.visit(item, depth + 1)

    def _note(self, text: str) -> None:
        data = text.encode()
        self.digest.update(len(data).to_bytes(8, "big") + data)


def _attributes(value: object) -> dict[str, object]:
    """Return what an object keeps in its ``__dict__`` and its slots."""
    found = {}
    for kind in type(value).__mro__:
        slots = vars(kind).get("__slots__", ())
        for name in [slots] if isinstance(slots, str) else slots:
            if hasattr(value, name):
                found[name] = getattr(value, name)
    return found | getattr(value, "__dict__", {})
