"""Where models lie: safetensors files behind fsspec, named by their digest, whole or not at all.

The name is the digest of the arrays, so equal models are one file and no name comes from outside. The digest of the
file's bytes stands in the database: what was changed on the disk is found when it is read.
"""

from __future__ import annotations

import hashlib
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem
from safetensors import SafetensorError
from safetensors.numpy import load

from monitor.files import write_atomically
from shared.errors import NotFound, StoreError
from shared.parameters import model_digest

MAX_MODEL_BYTES = 4 * 1024**3  # it is read into memory to be checked
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredModel:
    """A file that was put."""

    digest: str  # of the arrays
    file_digest: str  # SHA-256 of the file
    size_bytes: int


class ObjectStore:
    """Files in a folder or a bucket."""

    def __init__(self, url: str) -> None:
        """Open the place; a folder is made when the first file is put.

        Raises:
            StoreError: fsspec does not know such a place, or lacks the package for it.
        """
        try:
            self._fs, self._root = url_to_fs(url)
        except (ValueError, ImportError) as error:
            raise StoreError(f"models cannot be kept in {url!r}: {error}") from error

    def put(self, path: Path) -> StoredModel:
        """Copy a safetensors file in, under the digest of its arrays.

        Raises:
            StoreError: It cannot be read, is not a safetensors file, or cannot be written.
        """
        try:
            if path.stat().st_size > MAX_MODEL_BYTES:
                raise StoreError(f"{path} is larger than {MAX_MODEL_BYTES} bytes")
            content = path.read_bytes()
            digest = model_digest(load(content)).hex()
        except OSError as error:
            raise StoreError(f"the model {path} cannot be read: {error.strerror or error}") from error
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{path} is not a safetensors file of a model: {error}") from error
        stored = StoredModel(digest=digest, file_digest=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
        try:
            self._write(self._path(digest), content)
        except OSError as error:
            raise StoreError(f"the model {digest} cannot be stored: {error.strerror or error}") from error
        return stored

    def open(self, digest: str, file_digest: str) -> BinaryIO:
        """Open a model's file, after its bytes were checked.

        Raises:
            NotFound: There is no such file.
            StoreError: It was changed since it was put, or cannot be read.
        """
        try:
            with self._fs.open(self._path(digest), "rb") as file:
                content = file.read()
        except FileNotFoundError:
            raise NotFound(f"the file of model {digest} is gone") from None
        except OSError as error:
            raise StoreError(f"the model {digest} cannot be read: {error.strerror or error}") from error
        if hashlib.sha256(content).hexdigest() != file_digest:
            raise StoreError(f"the file of model {digest} is not what was stored; it was changed or is damaged")
        return io.BytesIO(content)

    def _path(self, digest: str) -> str:
        if not _DIGEST.fullmatch(digest):
            raise NotFound("a model's digest is 64 hexadecimal digits")
        return f"{self._root}/models/{digest[:2]}/{digest}.safetensors"

    def _write(self, path: str, content: bytes) -> None:
        if isinstance(self._fs, LocalFileSystem):
            local = Path(path)
            local.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(local, content)
            return
        self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
        self._fs.pipe_file(path, content)  # one upload: a bucket shows it whole or not at all
