"""Where a server keeps what outlives it, and the invitation that clients of the same user on this machine find."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from constellation.folders import user_data_dir
from shared.errors import UsageError
from shared.joining import Invitation, read_join_file

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerHome:
    """The folders of one server."""

    folder: Path

    @classmethod
    def of(cls, state_dir: Path | None) -> ServerHome:
        """Use the folder that was named, or the user's own."""
        return cls(folder=(state_dir or user_data_dir() / "server").absolute())

    @property
    def tls(self) -> Path:
        """Of certificates."""
        return self.folder / "tls"

    @property
    def keys(self) -> Path:
        """Of the server's signing key, and of the clients' public ones."""
        return self.folder / "keys"

    @property
    def flower(self) -> Path:
        """Of the SuperLink: its database, Flower's home, logs."""
        return self.folder / "flower"

    @property
    def book(self) -> Path:
        """Of tokens and clients."""
        return self.folder / "clients.sqlite"

    @property
    def facts(self) -> Path:
        """What the running server says of itself, for ``token`` and ``status``."""
        return self.folder / "running.json"


def join_file(port: int) -> Path:
    """Return where a server on this port leaves its invitation for clients of the same user."""
    return user_data_dir() / "join" / f"{port}.json"


def split_address(address: str) -> tuple[str, int]:
    """Read ``HOST:PORT``.

    Raises:
        UsageError: It is not of this form.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UsageError(f"server-address must be HOST:PORT, as 192.0.2.7:8080, got {address!r}")
    return host.strip("[]"), int(port)


def is_loopback(address: str) -> bool:
    """Tell whether an address is this machine's own."""
    return split_address(address)[0] in _LOOPBACK


def local_invitation(address: str) -> Invitation | None:
    """Return the invitation of a server of this user on this machine; None for another address, or without one."""
    host, port = split_address(address)
    return read_join_file(join_file(port)) if host in _LOOPBACK else None
