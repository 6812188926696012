"""What is hashed: typed, length-prefixed fields, so that no two different contents have the same bytes."""

from __future__ import annotations

import functools
import hashlib
import struct
from collections.abc import Mapping, Sequence

from shared.parameters import AnyArray, Arrays, length_prefixed, model_digest

Scalar = bool | int | float | str | bytes
Value = Scalar | Sequence[Scalar]
Fields = Mapping[str, Value]

_pack_length = struct.Struct(">Q").pack
_pack_float = struct.Struct(">d").pack
_pack_sized = struct.Struct(">QcQ").pack  # a value's length, its type, and the length of what comes after
_SIZED_HEAD = 9  # bytes of type and length
_MAX_KEPT_NAME = 64  # characters; longer names are a stranger's, whom no memory is kept for


def encode_value(value: Value) -> bytes:
    """Write a value with its type: 1, 1.0, True and "1" differ.

    Raises:
        TypeError: The value is of a type that no record may hold.
        ValueError: A text is not valid Unicode.
    """
    if type(value) is str:
        data = value.encode()
        return b"s" + _pack_length(len(data)) + data
    if type(value) is bytes:
        return b"y" + _pack_length(len(value)) + value
    if type(value) is int:
        data = b"%d" % value
        return b"i" + _pack_length(len(data)) + data
    if type(value) is float:
        return b"f" + _pack_float(value)
    return _encode_other(value)


def _encode_other(value: Value) -> bytes:
    """Write what is rarer: booleans, lists, and subclasses of the plain types."""
    if isinstance(value, bool):
        return b"b\1" if value else b"b\0"
    if isinstance(value, int):
        return b"i" + length_prefixed(b"%d" % value)
    if isinstance(value, float):
        return b"f" + _pack_float(value)
    if isinstance(value, str):
        return b"s" + length_prefixed(value.encode())
    if isinstance(value, bytes):
        return b"y" + length_prefixed(value)
    if isinstance(value, list | tuple):
        return b"l" + _pack_length(len(value)) + b"".join(map(encode_value, value))
    raise TypeError(f"a signed record cannot hold a {type(value).__name__}")


def encode_fields(fields: Fields) -> bytes:
    """Write named values: their number, then by sorted name the length-prefixed name and value."""
    parts = [_pack_length(len(fields))]
    for name in sorted(fields):
        value = fields[name]
        parts.append(_known_name(name) if len(name) <= _MAX_KEPT_NAME else _encode_name(name))
        # As encode_value writes them: forty values a signed update are of these types.
        if type(value) is str:
            data = value.encode()
            parts += (_pack_sized(_SIZED_HEAD + len(data), b"s", len(data)), data)
        elif type(value) is bytes:
            parts += (_pack_sized(_SIZED_HEAD + len(value), b"y", len(value)), value)
        elif type(value) is int:
            data = b"%d" % value
            parts += (_pack_sized(_SIZED_HEAD + len(data), b"i", len(data)), data)
        else:
            parts.append(length_prefixed(encode_value(value)))
    return b"".join(parts)


def _encode_name(name: str) -> bytes:
    return length_prefixed(name.encode())


_known_name = functools.lru_cache(maxsize=256)(_encode_name)


def content_digest(tag: bytes, header: Fields, scalars: Fields, arrays_digest: bytes) -> bytes:
    """Return SHA256(tag || header || scalars || digest of the arrays)."""
    digest = hashlib.sha256(tag)
    digest.update(encode_fields(header))
    digest.update(encode_fields(scalars))
    digest.update(arrays_digest)
    return digest.digest()


class DigestCache:
    """Hashes a model once for all who are given the very same read-only arrays.

    A worker trains many clients on one global model. Only read-only arrays that are the same objects count as the same:
    the cache holds on to them, so that no other array can take their place in memory.
    """

    def __init__(self) -> None:
        """Start empty; the last model is kept."""
        self._arrays: Mapping[str, AnyArray] = {}
        self._digest = b""

    def digest(self, arrays: Arrays) -> bytes:
        """Return ``model_digest(arrays)``."""
        if self._digest and self._is_same(arrays):
            return self._digest
        digest = model_digest(arrays)
        if not any(array.flags.writeable for array in arrays.values()):
            self._arrays, self._digest = dict(arrays), digest
        return digest

    def _is_same(self, arrays: Arrays) -> bool:
        known = self._arrays
        return len(arrays) == len(known) and all(known.get(name) is array for name, array in arrays.items())
