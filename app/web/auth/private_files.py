"""Secrets in files: only their owner may read them, and a file that others could read is refused."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path

from shared.errors import KeyStoreError

FILE_MODE = 0o600
_MAX_BYTES = 64 * 1024  # more is none of ours


def read_private(path: Path) -> bytes:
    """Return what the file holds.

    Raises:
        FileNotFoundError: There is none.
        KeyStoreError: Others may read or write it, it is a link, or it cannot be read.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise KeyStoreError(f"{path} cannot be read: {error.strerror}") from error
    with os.fdopen(fd, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise KeyStoreError(f"{path} is no regular file; remove it, and it is made anew")
        _refuse_shared(path, status)
        return file.read(_MAX_BYTES)


def write_private(path: Path, content: bytes) -> None:
    """Replace the file by one that holds ``content``: readers see the old one or the new one, whole.

    Raises:
        KeyStoreError: It cannot be written.
    """
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        _write_new(new, content)
        new.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            new.unlink()
        raise KeyStoreError(f"{path} cannot be written: {error.strerror}") from error


def create_private(path: Path, content: bytes) -> bool:
    """Make the file, unless there is one: of several processes exactly one does it.

    Raises:
        KeyStoreError: It cannot be written.
    """
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        _write_new(new, content)
        os.link(new, path)  # fails when the name is taken: nobody ever reads half a file
    except FileExistsError:
        return False
    except OSError as error:
        raise KeyStoreError(f"{path} cannot be written: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            new.unlink()
    return True


def _write_new(path: Path, content: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _refuse_shared(path: Path, status: os.stat_result) -> None:
    if status.st_uid != os.geteuid():
        raise KeyStoreError(f"{path} belongs to another user; choose another --output")
    if status.st_mode & 0o077:
        raise KeyStoreError(
            f"{path} can be read by others (mode {stat.S_IMODE(status.st_mode):04o}); "
            f"run chmod go= {path} and start again, or remove it if others may have read it"
        )
