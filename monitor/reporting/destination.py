"""Where reports go and with what token: parsed and checked before a run starts, so that mistakes are said at once."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from shared.errors import UsageError

MAX_TOKEN_CHARACTERS = 512  # a longer file is not a token
_TOKEN = re.compile(r"[\x21-\x7e]+")  # RFC 9110, sec. 5.5: nothing that could end a header line
_OTHERS = 0o077

Token = Callable[[], str]  # asked at each connection: a dashboard that was set up anew has a new one


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """A dashboard's address."""

    scheme: str  # "http" or "https"
    host: str
    port: int
    prefix: str = ""  # path before ours, as behind a reverse proxy

    @property
    def url(self) -> str:
        """The address as a person writes it, without anything secret."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.prefix}"


def parse_destination(url: str) -> Destination:
    """Read ``http://host:port/prefix``.

    Raises:
        UsageError: It is no such address, or holds a password, which belongs into a token file.
    """
    shown = url if len(url) <= 200 else f"{url[:200]}..."
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"dashboard address {shown!r} cannot be read: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or re.search(r"[\s\x00-\x20\x7f]", url):
        raise UsageError(f"dashboard address {shown!r} must look like http://127.0.0.1:5000")
    if parts.username is not None or parts.query or parts.fragment:
        raise UsageError(
            "the dashboard's address may hold neither a password nor a query; put the token into a file and name it "
            "with --token-file"
        )
    default = 443 if parts.scheme == "https" else 80
    return Destination(scheme=parts.scheme, host=parts.hostname, port=port or default, prefix=parts.path.rstrip("/"))


def fixed_token(token: str) -> Token:
    """Return a token that was given as it is; "" is none.

    Raises:
        UsageError: It cannot be a token.
    """
    checked = _checked(token, "the token") if token else ""
    return lambda: checked


def token_file(path: Path) -> Token:
    """Return a token that is read from a file each time it is needed.

    Raises:
        UsageError: By calling the result, when the file is missing, readable by others, or holds no token.
    """

    def read() -> str:
        try:
            with path.open("rb") as file:
                mode = stat.S_IMODE(path.stat().st_mode)
                content = file.read(MAX_TOKEN_CHARACTERS + 2)
        except OSError as error:
            raise UsageError(f"token file {path} cannot be read: {error.strerror or error}") from error
        if mode & _OTHERS:
            raise UsageError(f"token file {path} can be read by others (mode {mode:04o}); run chmod 600 on it")
        return _checked(content.decode("ascii", "replace").strip(), f"token file {path}")

    return read


def _checked(token: str, where: str) -> str:
    if len(token) > MAX_TOKEN_CHARACTERS or not _TOKEN.fullmatch(token):
        raise UsageError(f"{where} does not hold a token: one line of at most {MAX_TOKEN_CHARACTERS} plain characters")
    return token
