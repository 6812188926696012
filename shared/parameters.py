"""Models as named arrays, without Flower and without torch: their schema, their digest, the size of a change."""

from __future__ import annotations

import functools
import hashlib
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

AnyArray = NDArray[Any]
Arrays = Mapping[str, AnyArray]

# What a model may consist of. Objects, strings and complex numbers are refused before anything is computed with them.
ALLOWED_DTYPES = frozenset(
    {"float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool"}
)
_MODEL_TAG = b"constellation/model/v1\0"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArraySpec:
    """What an array must look like after it was decoded."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def num_bytes(self) -> int:
        """Bytes of the array's values."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize  # np.prod would overflow on a claimed shape


def schema_of(arrays: Arrays) -> dict[str, ArraySpec]:
    """Describe each array."""
    return {name: ArraySpec(shape=array.shape, dtype=dtype_name(array.dtype)) for name, array in arrays.items()}


@functools.lru_cache(maxsize=64)
def dtype_name(dtype: np.dtype[Any]) -> str:
    """Return a dtype's name; numpy works it out anew at each call, which is dear where a model has many arrays."""
    return dtype.name


def length_prefixed(data: bytes) -> bytes:
    """Put eight bytes of length before ``data``, so that no two sequences of fields hash alike."""
    return struct.pack(">Q", len(data)) + data


def model_digest(arrays: Arrays) -> bytes:
    """Return the SHA-256 of a model: the same for equal names, dtypes, shapes and values, whatever their layout.

    The order of the names, Fortran order and big-endian storage do not matter; one ulp, a rename, a reshape or another
    dtype does. Fields: tag, number of arrays, then by sorted name: length-prefixed name and dtype, ndim, shape, byte
    count, raw little-endian bytes in C order.

    Raises:
        ValueError: An array is of a dtype that models may not have.
    """
    digest = hashlib.sha256(_MODEL_TAG + struct.pack(">Q", len(arrays)))
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(_array_header(name, array.dtype, array.shape))
        little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        digest.update(little.reshape(-1).view(np.uint8).data)
    return digest.digest()


@functools.lru_cache(maxsize=4096)
def _array_header(name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    kind = dtype_name(dtype)
    if kind not in ALLOWED_DTYPES:
        raise ValueError(f"array {name!r} has dtype {kind}, which models may not have")
    num_bytes = math.prod(shape) * dtype.itemsize
    numbers = struct.pack(f">{len(shape) + 2}Q", len(shape), *shape, num_bytes)
    return length_prefixed(name.encode()) + length_prefixed(kind.encode()) + numbers


def num_parameters(arrays: Arrays) -> int:
    """Count the values of all arrays."""
    return sum(int(array.size) for array in arrays.values())


def num_bytes(arrays: Arrays) -> int:
    """Count the bytes of all arrays."""
    return sum(int(array.nbytes) for array in arrays.values())


def weighted_mean(models: Sequence[Arrays], weights: Sequence[float]) -> dict[str, AnyArray]:
    """Average models in the order given, in each array's own dtype, as Flower's FedAvg does.

    Args:
        models: At least one; all with the same names and shapes.
        weights: As many, their sum above 0.

    Returns:
        Arrays of the models' dtypes; integer arrays (a BatchNorm counter) are averaged in float64 and rounded.
    """
    total = float(sum(weights))
    mean: dict[str, AnyArray] = {}
    for name, first in models[0].items():
        is_float = first.dtype.kind == "f"
        dtype = first.dtype if is_float else np.dtype(np.float64)
        accumulator = np.zeros(first.shape, dtype)
        scratch = np.empty(first.shape, dtype)
        for model, weight in zip(models, weights, strict=True):
            np.multiply(model[name], weight / total, out=scratch, casting="same_kind" if is_float else "unsafe")
            accumulator += scratch
        mean[name] = accumulator if is_float else np.rint(accumulator).astype(first.dtype)
    return mean
