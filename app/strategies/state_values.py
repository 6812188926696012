"""Python values as JSON plus named arrays, and back: what a strategy's attributes may consist of. No pickle.

Every value becomes a JSON list ``[tag, ...]`` or a plain JSON scalar; arrays are put aside under a number and named by
it. Decoding gives equal values of the same types, arrays to the bit.
"""

from __future__ import annotations

import math
import random
import sys
from collections import Counter, OrderedDict, deque
from collections.abc import Mapping
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, MetricRecord
from flwr.common import Parameters

from shared.events import JsonValue
from shared.parameters import ALLOWED_DTYPES, AnyArray
from shared.records import from_array_record, to_array_record

_MAX_DEPTH = 64  # of nested lists and dicts: a corrupt file must not exhaust the stack

_SEQUENCES: Mapping[str, type[Any]] = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}
_MAPPINGS: Mapping[str, type[Any]] = {
    "dict": dict,
    "ordered": OrderedDict,
    "counter": Counter,
    "config": ConfigRecord,
    "metrics": MetricRecord,
}
_BIT_GENERATORS: Mapping[str, type[Any]] = {
    kind.__name__: kind
    for kind in (np.random.PCG64, np.random.PCG64DXSM, np.random.Philox, np.random.SFC64, np.random.MT19937)
}
_SEQUENCE_TAGS = {kind: tag for tag, kind in _SEQUENCES.items()}
_MAPPING_TAGS = {kind: tag for tag, kind in _MAPPINGS.items()}


class CannotEncodeError(TypeError):
    """A value is of a type that cannot be written down; the text says which."""


class Encoder:
    """Turns values into JSON and collects their arrays."""

    def __init__(self) -> None:
        """Start with no arrays."""
        self.arrays: dict[str, AnyArray] = {}

    def encode(self, value: object, depth: int = 0) -> JsonValue:
        """Write one value.

        Raises:
            CannotEncodeError: The value, or one inside it, is of another type.
        """
        if depth > _MAX_DEPTH:
            raise CannotEncodeError("values nested too deep")
        kind = type(value)
        if value is None or kind in (bool, int, str):
            return value  # type: ignore[return-value]
        if kind is float:
            return value if math.isfinite(value) else ["float", repr(value)]  # type: ignore[return-value,arg-type]
        if kind in _SEQUENCE_TAGS:
            return [_SEQUENCE_TAGS[kind], [self.encode(item, depth + 1) for item in _ordered(value)]]
        if kind in _MAPPING_TAGS:
            return [_MAPPING_TAGS[kind], self._pairs(value, depth)]  # type: ignore[arg-type]
        if kind is deque:
            items = [self.encode(item, depth + 1) for item in value]  # type: ignore[attr-defined]
            return ["deque", value.maxlen, items]  # type: ignore[attr-defined]
        return self._encode_arrays(value, depth)

    def _encode_arrays(self, value: object, depth: int) -> JsonValue:
        if type(value) is np.ndarray:
            return ["array", self._store(value)]
        if isinstance(value, np.generic):
            return ["scalar", self._store(np.asarray(value))]
        if type(value) is bytes:
            return ["bytes", self._store(np.frombuffer(value, np.uint8))]
        if type(value) is ArrayRecord:
            return ["record", self._pairs(from_array_record(value), depth)]
        if type(value) is Parameters:
            return ["parameters", value.tensor_type, self.encode(value.tensors, depth + 1)]
        if type(value) is np.random.Generator:
            return ["generator", self.encode(value.bit_generator.state, depth + 1)]
        if type(value) is random.Random:
            return ["random", self.encode(value.getstate(), depth + 1)]
        torch = sys.modules.get("torch")  # a tensor can only exist where torch was imported
        if torch is not None and isinstance(value, torch.Tensor) and value.dtype != torch.bfloat16:
            return ["tensor", self._store(value.detach().cpu().numpy())]
        raise CannotEncodeError(f"{type(value).__module__}.{type(value).__qualname__}")

    def _pairs(self, mapping: Mapping[Any, Any], depth: int) -> JsonValue:
        return [[self.encode(key, depth + 1), self.encode(item, depth + 1)] for key, item in mapping.items()]

    def _store(self, array: AnyArray) -> str:
        if array.dtype.name not in ALLOWED_DTYPES:
            raise CannotEncodeError(f"numpy array of {array.dtype}")
        name = str(len(self.arrays))
        self.arrays[name] = np.array(array, dtype=array.dtype.newbyteorder("="), order="C")
        return name


def _ordered(value: Any) -> Any:
    """Give sets an order, so that equal states are equal bytes."""
    return sorted(value, key=repr) if isinstance(value, set | frozenset) else value


def decode(node: JsonValue, arrays: Mapping[str, AnyArray], depth: int = 0) -> Any:
    """Read what ``Encoder.encode`` wrote; arrays are copies, so that a strategy may write into them.

    Raises:
        ValueError: The node is not of that form.
    """
    if not isinstance(node, list):
        if isinstance(node, dict):
            raise ValueError("an untagged object")
        return node
    if depth > _MAX_DEPTH or not node:
        raise ValueError("nested too deep, or an untagged list")
    tag, rest = _as_text(node[0]), node[1:]
    if tag in _SEQUENCES:
        (items,) = rest
        return _SEQUENCES[tag](decode(item, arrays, depth + 1) for item in _as_list(items))
    if tag in _MAPPINGS:
        (pairs,) = rest
        return _MAPPINGS[tag](_decode_pairs(pairs, arrays, depth))
    return _decode_other(tag, rest, arrays, depth)


def _decode_other(tag: str, rest: list[JsonValue], arrays: Mapping[str, AnyArray], depth: int) -> Any:
    if tag == "deque":
        maxlen, items = rest
        if maxlen is not None and type(maxlen) is not int:
            raise ValueError("a deque's length is not a number")
        return deque((decode(item, arrays, depth + 1) for item in _as_list(items)), maxlen)
    if tag == "record":
        return to_array_record(_decode_pairs(rest[0], arrays, depth))
    if tag == "parameters":
        tensor_type, tensors = rest
        return Parameters(tensors=decode(tensors, arrays, depth + 1), tensor_type=str(tensor_type))
    if tag == "generator":
        return _generator(decode(rest[0], arrays, depth + 1))
    if tag == "random":
        source = random.Random()  # noqa: S311 - reproducible choices, no secrets
        source.setstate(decode(rest[0], arrays, depth + 1))
        return source
    if tag == "float":
        return float(_as_text(rest[0]))
    array = arrays.get(_as_text(rest[0]))
    if array is None:
        raise ValueError(f"array {rest[0]!r} is missing")
    if tag == "array":
        return array.copy()
    if tag == "scalar":
        return array.reshape(())[()]
    if tag == "bytes":
        return array.tobytes()
    if tag == "tensor":
        import torch

        return torch.from_numpy(array.copy())
    raise ValueError(f"unknown tag {tag!r}")


def _generator(state: Any) -> np.random.Generator:
    """Make a numpy generator in this state.

    Raises:
        ValueError: A position lies outside the generator: numpy does not look, and would read beyond its memory.
    """
    if not 0 <= state.get("buffer_pos", 0) <= 4 or not 0 <= state["state"].get("pos", 0) <= 624:
        raise ValueError("a generator's position is out of range")
    bit_generator = _BIT_GENERATORS[state["bit_generator"]]()
    bit_generator.state = state
    return np.random.Generator(bit_generator)


def _decode_pairs(node: JsonValue, arrays: Mapping[str, AnyArray], depth: int) -> dict[Any, Any]:
    found = {}
    for pair in _as_list(node):
        key, item = _as_list(pair)
        found[decode(key, arrays, depth + 1)] = decode(item, arrays, depth + 1)
    return found


def _as_list(node: JsonValue) -> list[JsonValue]:
    if not isinstance(node, list):
        raise ValueError("a list is missing")
    return node


def _as_text(node: JsonValue) -> str:
    if not isinstance(node, str):
        raise ValueError("a name is missing")
    return node
