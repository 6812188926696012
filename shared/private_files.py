"""Files that their owner alone may read, and that are whole or not there at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

OTHERS_READ_OR_WRITE, OTHERS_WRITE = 0o077, 0o022


@contextlib.contextmanager
def new_file(folder: Path, data: bytes, *, mode: int) -> Iterator[Path]:
    """Give the path of a new file with ``data`` safely on disk; it is removed afterwards unless it was renamed."""
    path = folder / f".new-{secrets.token_hex(8)}"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield path
    finally:
        path.unlink(missing_ok=True)


def replace_file(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Write a file in place of the one that is there: after a crash it is the old one or the new one, whole."""
    with new_file(path.parent, data, mode=mode) as temporary:
        os.replace(temporary, path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make sure that names in a folder are on disk."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read_private_file(path: Path, max_bytes: int) -> bytes:
    """Read a file that others can neither read nor write, and that is no link.

    Raises:
        PermissionError: Others can.
        OSError: It cannot be read, is a link, or holds more than ``max_bytes``.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    with os.fdopen(descriptor, "rb") as file:
        if os.name == "posix" and stat.S_IMODE(os.fstat(file.fileno()).st_mode) & OTHERS_READ_OR_WRITE:
            raise PermissionError(0, "others can read or write it; run chmod 600 on it if you know what it holds")
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise OSError(0, f"it is larger than {max_bytes} bytes")
    return data
