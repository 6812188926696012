"""Fetches a file of known checksum: whole or not at all, with a progress bar on stderr."""

from __future__ import annotations

import hashlib
import http.client
import os
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Protocol

from shared.errors import DatasetError

_CHUNK_BYTES = 64 * 1024
_TIMEOUT_S = 20.0  # of each read: a network that swallows packets must not hang the command
_MAX_BYTES = 1024**3  # the largest file is CIFAR-10's 170 MB: a wrong mirror must not fill the disk


class Response(Protocol):
    """What a download reads from."""

    @property
    def length(self) -> int | None:
        """Bytes to come, where the server says so."""
        ...

    def read(self, num_bytes: int, /) -> bytes:
        """Return up to ``num_bytes``; empty at the end."""
        ...


OpenUrl = Callable[[str], AbstractContextManager[Response]]
Report = Callable[[int, int | None], None]  # bytes done, bytes in all


@contextmanager
def open_url(url: str) -> Iterator[Response]:
    """Open an http or https address.

    Raises:
        OSError: The server cannot be reached or refuses.
    """
    if not url.startswith(("https://", "http://")):
        raise ValueError(f"{url} is not a web address")
    request = urllib.request.Request(url, headers={"User-Agent": "constellation-fl"})  # noqa: S310 - checked above
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:  # noqa: S310
        yield response


def download(
    urls: Sequence[str], md5: str, target: Path, *, missing: str, way_out: str, opener: OpenUrl = open_url
) -> None:
    """Fetch ``target`` from the first address that has it.

    The bytes go into a hidden file beside the target, which takes the target's name only when its checksum is right:
    an interrupted download is never taken for a whole one. Without an answer not even a folder is made.

    Args:
        urls: Mirrors, in the order to try them.
        md5: The published checksum, in hex.
        target: Where the file shall stand.
        missing: What is not there, with which the error's sentence begins.
        way_out: What a person without a network can do, with which it ends.
        opener: Opens an address; tests pass their own.

    Raises:
        DatasetError: No address has the file, or the folder cannot be written.
    """
    failures = []
    for url in urls:
        try:
            with opener(url) as response, _part_file(target) as part, _progress_bar(target.name) as report:
                found = _copy(response, part, report)
                if found == md5:
                    _put_in_place(part, target)
                    return
                failures.append(f"{_host(url)}: wrong checksum {found}, expected {md5}")
        except (OSError, http.client.HTTPException, ValueError) as error:
            failures.append(f"{_host(url)}: {_reason(error)}")
    raise DatasetError(f"{missing} and {target.name} cannot be downloaded ({'; '.join(failures)}); {way_out}")


def md5_of(path: Path) -> str:
    """Return a file's MD5 in hex: what the publishers of these data sets name, against damage, not against forgery."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, _md5).hexdigest()


def _md5(data: bytes = b"") -> hashlib._Hash:
    return hashlib.md5(data, usedforsecurity=False)


def _copy(response: Response, part: IO[bytes], report: Report) -> str:
    digest = _md5()
    total = response.length
    done = 0
    while chunk := response.read(_CHUNK_BYTES):
        done += len(chunk)
        if done > _MAX_BYTES:
            raise ValueError(f"more than {_MAX_BYTES} bytes")
        digest.update(chunk)
        part.write(chunk)
        report(done, total)
    return digest.hexdigest()


@contextmanager
def _part_file(target: Path) -> Iterator[IO[bytes]]:
    """Open a hidden file beside ``target`` that is gone at the end unless it was renamed."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part = tempfile.NamedTemporaryFile(dir=target.parent, prefix=".part-", delete=False)  # noqa: SIM115
    except OSError as error:
        raise DatasetError(
            f"{target.parent} cannot be written ({error.strerror}); give a folder that can be with --data-dir"
        ) from error
    try:
        with part:
            yield part
    finally:
        Path(part.name).unlink(missing_ok=True)


def _put_in_place(part: IO[bytes], target: Path) -> None:
    part.flush()
    os.fsync(part.fileno())
    os.chmod(part.name, 0o644)  # a temporary file is private; a shared data folder is not
    os.replace(part.name, target)


@contextmanager
def _progress_bar(name: str) -> Iterator[Report]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("Downloading {task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(name, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _host(url: str) -> str:
    return urllib.parse.urlsplit(url).hostname or url


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code}"
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    return (isinstance(cause, OSError) and cause.strerror) or str(cause) or type(cause).__name__
