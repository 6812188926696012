"""Reads IDX files, the format of MNIST (http://yann.lecun.com/exdb/mnist/, "the IDX file format"), gzipped or not."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from shared.errors import DatasetError

_UNSIGNED_BYTES = 0x08
_MAX_BYTES = 8 * 1024**3  # of one array: a corrupt header must not ask for the machine's memory


def find_idx(folder: Path, name: str) -> Path | None:
    """Find a file as torchvision leaves it, or still gzipped."""
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def read_idx(path: Path, ndim: int) -> NDArray[np.uint8]:
    """Read an array of bytes with ``ndim`` dimensions.

    Raises:
        DatasetError: The file cannot be read, is cut short, or is not such an array.
    """
    try:
        with _open(path) as file:
            return _read(file, ndim)
    except EOFError:
        reason = "it is cut short"
    except (gzip.BadGzipFile, zlib.error, ValueError) as error:
        reason = str(error)
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}") from error
    raise DatasetError(f"{path} is damaged ({reason}); delete it and fetch it again")


def _open(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")


def _read(file: BinaryIO, ndim: int) -> NDArray[np.uint8]:
    magic = _exactly(file, 4)
    if magic != bytes([0, 0, _UNSIGNED_BYTES, ndim]):
        raise ValueError(f"it is not an IDX file of bytes with {ndim} dimensions")
    shape = tuple(int(size) for size in np.frombuffer(_exactly(file, 4 * ndim), dtype=">u4"))
    num_bytes = math.prod(shape)
    if num_bytes > _MAX_BYTES:
        raise ValueError(f"its header claims {num_bytes} bytes")
    body = _exactly(file, num_bytes)
    if file.read(1):
        raise ValueError(f"it is longer than the {num_bytes} bytes its header claims")
    return np.frombuffer(bytearray(body), dtype=np.uint8).reshape(shape)


def _exactly(file: BinaryIO, num_bytes: int) -> bytes:
    body = file.read(num_bytes)
    if len(body) != num_bytes:
        raise EOFError
    return body
