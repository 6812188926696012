"""What a strategy remembers between rounds, saved and restored bit for bit, without pickle.

The seam: a strategy (or an object that it holds) with ``state_dict()`` and ``load_state_dict(state)`` says itself what
is saved. Of any other strategy every attribute is saved that consists of None, bool, int, float, str, bytes, numpy
arrays, torch tensors, Flower records and parameters, random generators, and lists, tuples, sets, deques and dicts of
these.

Functions, classes, modules, loggers, paths, enums and frozen dataclasses are not saved: whoever builds the strategy
again makes them again. An attribute of any other type is not saved either; a fingerprint of its contents is. A strategy
in which such an attribute has changed since it was built cannot be resumed: ``why_not_resumable`` says so while the run
goes on, ``restore_state`` refuses.

A strategy that is an attribute of another (a wrapper's ``inner``, Flower's ``strategy``, the adapter's ``legacy``) is a
layer of its own, saved by the same rule: ``state_dict`` of a wrapper is about the wrapper only.
"""

from __future__ import annotations

import json
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
import safetensors.numpy
from flwr.server.strategy import Strategy as LegacyStrategy
from flwr.serverapp.strategy import Strategy

from app.strategies.state_objects import fingerprint, is_made_again
from app.strategies.state_values import Encoder, decode
from shared.errors import CheckpointError
from shared.events import JsonValue
from shared.parameters import Arrays

_FORMAT = "constellation/strategy-state/v1"
_LAYOUT = "layout"  # the array that holds the JSON; all others are numbers


@runtime_checkable
class SavesState(Protocol):
    """Says itself what has to be saved."""

    def state_dict(self) -> Any:
        """Return the state, of the types that the module's docstring names."""

    def load_state_dict(self, state: Any, /) -> Any:
        """Go on from what ``state_dict`` returned."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LayerState:
    """One strategy of a chain of wrappers."""

    kind: str  # module and name of its class
    own: JsonValue  # what its ``state_dict`` gave, encoded; None where it has none
    attributes: dict[str, JsonValue]  # encoded values
    objects: dict[str, JsonValue]  # attributes that save themselves: what their ``state_dict`` gave, encoded
    fingerprints: dict[str, str]  # attributes that cannot be saved: what they looked like


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StrategyState:
    """All that a strategy remembers: JSON values that refer to arrays by name. Equal states give equal bytes."""

    layers: tuple[LayerState, ...]  # outermost first
    arrays: Arrays

    def to_bytes(self) -> bytes:
        """Write as one safetensors file whose array ``layout`` is JSON."""
        layers = [[x.kind, x.own, x.attributes, x.objects, x.fingerprints] for x in self.layers]
        text = json.dumps({"format": _FORMAT, "layers": layers}, separators=(",", ":"), sort_keys=True)
        layout = np.frombuffer(text.encode(), np.uint8)
        return bytes(safetensors.numpy.save({**self.arrays, _LAYOUT: layout}))

    @classmethod
    def from_bytes(cls, data: bytes) -> StrategyState:
        """Read what ``to_bytes`` wrote, from a file that may be damaged or hostile.

        Raises:
            CheckpointError: It is not such a state; nothing of it was used.
        """
        try:
            arrays = safetensors.numpy.load(bytes(data))
            document = json.loads(arrays.pop(_LAYOUT).tobytes())
            if document["format"] != _FORMAT:
                raise ValueError(f"format {document['format']!r} instead of {_FORMAT!r}")
            state = cls(layers=tuple(_read_layer(row) for row in document["layers"]), arrays=arrays)
            state._check()
        except Exception as error:  # hostile bytes: whatever a parser trips over, they are refused
            raise CheckpointError(
                f"the strategy's state in the checkpoint is damaged ({type(error).__name__}: {error}); resume from "
                "another checkpoint or start the run anew"
            ) from error
        return state

    def _check(self) -> None:
        """Decode everything once, so that damage shows before anything is restored."""
        for layer in self.layers:
            for node in (layer.own, *layer.attributes.values(), *layer.objects.values()):
                decode(node, self.arrays)


def capture_state(strategy: Strategy) -> StrategyState:
    """Copy what ``strategy`` and all that it wraps remember.

    Raises:
        CheckpointError: A ``state_dict`` gave something that cannot be written down.
    """
    encoder = Encoder()
    layers = tuple(_capture_layer(layer, encoder) for layer in _layers(strategy))
    return StrategyState(layers=layers, arrays=encoder.arrays)


def restore_state(strategy: Strategy, state: StrategyState) -> None:
    """Put a freshly built ``strategy`` into the state that one built alike was in.

    Raises:
        CheckpointError: The strategy is another one, or its state could not be saved. It is unchanged then.
    """
    layers = _layers(strategy)
    kinds, saved_kinds = [_kind(layer) for layer in layers], [layer.kind for layer in state.layers]
    if kinds != saved_kinds:
        raise CheckpointError(
            f"the checkpoint was written with strategy {' around '.join(saved_kinds)}, but this run uses "
            f"{' around '.join(kinds)}; resume with the settings of the run"
        )
    built = capture_state(strategy)
    problem = why_not_resumable(built, state)
    if problem:
        raise CheckpointError(problem)
    for fresh, saved in zip(built.layers, state.layers, strict=True):
        if (fresh.own is None) != (saved.own is None) or not set(saved.objects) <= set(fresh.objects):
            raise CheckpointError(
                f"strategy {saved.kind} cannot be resumed: it is not built with the objects that it had saved; let it "
                "make them in __init__"
            )
    for layer, saved in zip(layers, state.layers, strict=True):
        _restore_layer(layer, saved, state.arrays)


def why_not_resumable(built: StrategyState, now: StrategyState) -> str | None:
    """Say in a sentence why ``now`` cannot be resumed; None when it can.

    Args:
        built: The state of the strategy as it was built.
        now: Its state some rounds later.
    """
    for before, after in zip(built.layers, now.layers, strict=True):
        for name, mark in after.fingerprints.items():
            if before.fingerprints.get(name) != mark:
                return (
                    f"strategy {after.kind} cannot be resumed: its attribute {name} ({mark.split(' ')[0]}) has changed "
                    "and is of a type that cannot be saved; give the strategy state_dict() and load_state_dict()"
                )
    return None


def _layers(strategy: object) -> list[object]:
    """Return a strategy and all strategies it holds, each once, outermost first."""
    found: list[object] = []
    waiting = [strategy]
    while waiting:
        layer = waiting.pop(0)
        if not any(layer is known for known in found):
            found.append(layer)
            waiting += [item for item in vars(layer).values() if isinstance(item, Strategy | LegacyStrategy)]
    return found


def _kind(layer: object) -> str:
    return f"{type(layer).__module__}.{type(layer).__qualname__}"


def _saves_itself(value: object) -> bool:
    """Look at the class: a wrapper hands unknown attributes on to what it wraps."""
    return not isinstance(value, type) and issubclass(type(value), SavesState)


def _capture_layer(layer: object, encoder: Encoder) -> LayerState:
    if _saves_itself(layer):
        own = _encode_own(layer, _kind(layer), encoder)
        return LayerState(kind=_kind(layer), own=own, attributes={}, objects={}, fingerprints={})
    attributes: dict[str, JsonValue] = {}
    objects: dict[str, JsonValue] = {}
    fingerprints: dict[str, str] = {}
    for name, value in vars(layer).items():
        if is_made_again(value) or isinstance(value, Strategy | LegacyStrategy):
            continue
        if _saves_itself(value):
            objects[name] = _encode_own(value, f"{_kind(layer)}.{name}", encoder)
            continue
        try:
            attributes[name] = encoder.encode(_plain(value))
        except TypeError:
            fingerprints[name] = fingerprint(value)
    return LayerState(kind=_kind(layer), own=None, attributes=attributes, objects=objects, fingerprints=fingerprints)


def _plain(value: object) -> object:
    """Make a dict of a subclass such as ``defaultdict``: it is filled in place when it is restored."""
    return dict(value) if isinstance(value, dict) and hasattr(value, "default_factory") else value


def _encode_own(holder: object, where: str, encoder: Encoder) -> JsonValue:
    try:
        # A list, so that None within is not "it has none".
        return [*cast(list[JsonValue], encoder.encode([cast(SavesState, holder).state_dict()]))]
    except TypeError as error:
        raise CheckpointError(
            f"the state_dict() of {where} cannot be saved: it holds a {error}; let it return numbers, text, numpy "
            "arrays and lists and dicts of these"
        ) from error


def _restore_layer(layer: object, saved: LayerState, arrays: Arrays) -> None:
    if saved.own is not None:
        cast(SavesState, layer).load_state_dict(decode(saved.own, arrays)[0])
        return
    attributes = vars(layer)
    for name, node in saved.attributes.items():
        value = decode(node, arrays)
        present = attributes.get(name)
        if hasattr(present, "default_factory") and isinstance(present, MutableMapping):
            present.clear()
            present.update(value)
        else:
            attributes[name] = value
    for name, node in saved.objects.items():
        cast(SavesState, attributes[name]).load_state_dict(decode(node, arrays)[0])


def _read_layer(row: Any) -> LayerState:
    kind, own, attributes, objects, fingerprints = row
    texts = [kind, *attributes, *objects, *fingerprints, *fingerprints.values()]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("a name is not text")
    return LayerState(kind=kind, own=own, attributes=attributes, objects=objects, fingerprints=fingerprints)
