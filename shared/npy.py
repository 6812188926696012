"""Reads numpy's own format (``np.save``) from hostile bytes: a view of the data, nothing allocated, nothing evaluated.

``np.load`` believes the header: it allocates what the header claims before it looks for the values, and it parses the
header as Python. Here the header must be spelled as ``np.save`` spells it, and the values must be there to the byte.
"""

from __future__ import annotations

import math
import re

import numpy as np

from shared.parameters import ALLOWED_DTYPES, AnyArray

# numpy/lib/format.py: magic string, version, header length (two bytes in version 1, four in version 2), header, values.
_MAGIC = b"\x93NUMPY"
_LENGTH_BYTES = {(1, 0): 2, (2, 0): 4}
_MAX_HEADER_BYTES = 4096  # np.save pads a plain array's header to 64 or 128: more is no array of numbers
_HEADER = re.compile(
    rb"\{'descr': '([<>|][a-z]\d{1,2})', 'fortran_order': (True|False), 'shape': \(([\d, ]{0,512})\), \} *\n"
)
_EXTENT = re.compile(rb"\d{1,18}")
_MAX_DIMENSIONS = 32


def read_npy(data: bytes) -> AnyArray:
    """Return the array as a read-only view of ``data``.

    Raises:
        ValueError: The bytes are not exactly one array of a dtype that models may have.
    """
    dtype, is_fortran, shape, offset = _read_header(data)
    if math.prod(shape) * dtype.itemsize != len(data) - offset:
        raise ValueError(f"shape {shape} of {dtype.name} is not the {len(data) - offset} bytes that follow it")
    flat = np.frombuffer(data, dtype=dtype, offset=offset) if len(data) > offset else np.empty(0, dtype)
    return flat.reshape(shape, order="F" if is_fortran else "C")


def _read_header(data: bytes) -> tuple[np.dtype[np.generic], bool, tuple[int, ...], int]:
    length_bytes = _LENGTH_BYTES.get((data[6], data[7])) if len(data) >= 12 and data.startswith(_MAGIC) else None
    if length_bytes is None:
        raise ValueError("not an array in numpy's format")
    start = 8 + length_bytes
    end = start + int.from_bytes(data[8:start], "little")
    if end > min(len(data), start + _MAX_HEADER_BYTES):
        raise ValueError("the array's header is longer than it may be")
    found = _HEADER.fullmatch(data, start, end)
    if found is None:
        raise ValueError("the array's header is not one that np.save writes")
    extents = [part.strip() for part in found[3].split(b",") if part.strip()]
    if len(extents) > _MAX_DIMENSIONS or not all(_EXTENT.fullmatch(part) for part in extents):
        raise ValueError("the array's shape is not one")
    return _dtype_of(found[1].decode()), found[2] == b"True", tuple(int(part) for part in extents), end


def _dtype_of(text: str) -> np.dtype[np.generic]:
    try:
        dtype = np.dtype(text)
    except TypeError as error:
        raise ValueError(f"no dtype is spelled {text!r}") from error
    if dtype.name not in ALLOWED_DTYPES:
        raise ValueError(f"dtype {dtype.name} is not one that models may have")
    return dtype
