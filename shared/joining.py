"""What a client needs to come to a server: an invitation, as a token that people pass on or a file on one machine.

An invitation names the authority that the server's certificate must come from by its digest. Whoever has the token can
therefore tell the right server from any other before it says anything, the token's secret included.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import stat
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from shared.errors import UsageError

_PREFIX = "cst1."  # of a token, with its version: one can tell it from other secrets, and a scanner can find it
_MAX_TEXT = 4096  # characters of a token or a join file
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """Where to enroll, whom to trust there, and the secret that lets one in."""

    address: str  # HOST:PORT of the federation
    enroll_port: int
    authority: str  # hex SHA-256 of the certificate of the server's authority
    secret: str

    def to_token(self) -> str:
        """Write it as one word."""
        return _PREFIX + base64.urlsafe_b64encode(json.dumps(asdict(self)).encode()).decode().rstrip("=")

    @classmethod
    def from_token(cls, token: str) -> Invitation:
        """Read a token.

        Raises:
            UsageError: It is none.
        """
        try:
            if not token.startswith(_PREFIX) or len(token) > _MAX_TEXT:
                raise ValueError("another form")
            body = token.removeprefix(_PREFIX)
            return parse(cls, base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        except (ValueError, binascii.Error) as error:
            raise UsageError(
                "token is no invitation, or not a whole one; copy it again from `constellation token`"
            ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrollRequest:
    """What a client says of itself."""

    client_id: str
    node_key: str  # PEM: of the key its HTTP calls are signed with
    signing_key: str  # PEM: of the key its updates are signed with
    partition_id: int  # the part of a shared data set that it wants; -1 is any
    own_data: bool  # it brings its own data, which is used whole
    input_shape: list[int]  # of its own data; empty otherwise
    num_classes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrollAnswer:
    """What the server tells a client that it has enrolled."""

    partition_id: int  # -1 with own data
    num_partitions: int
    server_key: str  # PEM: of the key that requests are signed with
    dataset: str
    input_shape: list[int]
    num_classes: int


def parse(kind: type[T], data: bytes | str) -> T:
    """Read one of this module's objects from JSON: exactly its fields, each of its type.

    Raises:
        ValueError: It is something else.
    """
    found = json.loads(data)
    wanted = {field.name: str(field.type) for field in fields(kind)}  # type: ignore[arg-type]
    if not isinstance(found, dict) or found.keys() != wanted.keys():
        raise ValueError("other fields")
    for name, type_name in wanted.items():
        if not _is(found[name], type_name):
            raise ValueError(f"{name} is no {type_name}")
    return kind(**found)


def _is(value: Any, type_name: str) -> bool:
    if type_name == "list[int]":
        return isinstance(value, list) and all(type(item) is int for item in value)
    return type(value).__name__ == type_name


def write_join_file(path: Path, invitation: Invitation) -> None:
    """Leave an invitation for clients of the same user on this machine; nobody else can read it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}-{os.getpid()}")
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump(asdict(invitation), file)
    fresh.replace(path)


def read_join_file(path: Path) -> Invitation | None:
    """Return the invitation that a server of this user has left; None when there is none.

    Raises:
        UsageError: The file is another user's, readable by others, or holds something else: nobody should be sent to
            a server by whoever else can write here.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"join file {path} cannot be read: {error.strerror or error}") from error
    with open(descriptor, encoding="utf-8") as file:
        facts = os.fstat(file.fileno())
        if os.name == "posix" and (facts.st_uid != os.getuid() or stat.S_IMODE(facts.st_mode) & 0o077):
            raise UsageError(f"join file {path} is not only yours; remove it, and start the server again")
        try:
            return parse(Invitation, file.read(_MAX_TEXT))
        except ValueError as error:
            raise UsageError(f"join file {path} holds no invitation; start the server again") from error
