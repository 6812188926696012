"""Reads a folder of keys and changes who may sign; works on public halves and never opens a private key."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from monitor.files import write_atomically
from shared.crypto.directory import FACTS_SUFFIX, EnrolledKey, FolderDirectory
from shared.crypto.keys import (
    PUBLIC_SUFFIX,
    SERVER_ID,
    KeyStore,
    is_valid_id,
    key_id,
    load_public_key,
    public_pem,
)
from shared.errors import KeyStoreError, UsageError

REVOKED, SERVER = "revoked", "server"
_OTHERS_WRITE = 0o022


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFacts:
    """What may be told of a key."""

    client_id: str
    status: str  # "yes", "revoked", "server" for the federation's own key, or why it is of no use
    key_id: str = ""
    bits: int = 0
    has_private: bool = False
    max_examples: int | None = None

    def to_json(self) -> dict[str, object]:
        """Return one JSON object."""
        return {
            "client_id": self.client_id,
            "key_id": self.key_id or None,
            "bits": self.bits or None,
            "has_private": self.has_private,
            "status": self.status,
            "max_examples": self.max_examples,
        }


def read_keys(folder: Path) -> list[KeyFacts]:
    """Read what is known of the keys in a folder, by client; none when there is no such folder.

    Raises:
        UsageError: The folder cannot be read.
    """
    try:
        names = [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UsageError(f"key folder {folder} cannot be read: {error.strerror}; name another") from error
    public = {name.removesuffix(PUBLIC_SUFFIX) for name in names if name.endswith(PUBLIC_SUFFIX)}
    private = set(KeyStore(folder).ids())
    directory = FolderDirectory(folder)
    return [
        _facts(folder, directory, client_id, has_private=client_id in private)
        for client_id in sorted(public | private, key=_with_numbers)
        if is_valid_id(client_id)
    ]


def enroll(directory: Path, client_id: str, key: RSAPublicKey, *, max_examples: int | None, is_replacing: bool) -> None:
    """Let a key sign for a client.

    Raises:
        UsageError: The id cannot be a client's, the bound is not positive, or the directory cannot be used.
        KeyStoreError: The client has another key, this one was revoked, or it is another client's.
    """
    _check_client_id(client_id)
    if max_examples is not None and max_examples < 1:
        raise UsageError(f"--max-examples must be a whole number from 1 up, got {max_examples}")
    name = key_id(key)
    for known in read_keys(directory):
        if known.client_id != client_id and known.key_id == name:
            raise KeyStoreError(
                f"this key belongs to {known.client_id} in {directory}; each client needs a key of its own"
            )
        if known.client_id == client_id and known.key_id and not is_replacing:
            _check_replaceable(known, name, directory)
    try:
        _make_directory(directory)
        # The facts first: the key is never enrolled without its bound.
        _write_facts(directory, client_id, is_revoked=False, max_examples=max_examples)
        write_atomically(directory / f"{client_id}{PUBLIC_SUFFIX}", public_pem(key).decode())
    except OSError as error:
        raise _unusable(directory, error) from error


def revoke(directory: Path, client_id: str) -> str:
    """Refuse a client's key from now on; returns its id.

    Raises:
        UsageError: The id cannot be a client's, or the directory cannot be written.
        KeyStoreError: The client has no key in this directory.
    """
    _check_client_id(client_id)
    path = directory / f"{client_id}{PUBLIC_SUFFIX}"
    if not path.exists():
        raise KeyStoreError(f"{client_id} has no key in {directory}; `constellation keys show --key-dir` lists who has")
    name = key_id(load_public_key(path))
    found = FolderDirectory(directory).find(client_id, name)
    try:
        _write_facts(directory, client_id, is_revoked=True, max_examples=found.max_examples if found else None)
    except OSError as error:
        raise _unusable(directory, error) from error
    return name


def _with_numbers(client_id: str) -> list[tuple[int, str]]:
    """Order client-2 before client-10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", client_id)]


def _facts(folder: Path, directory: FolderDirectory, client_id: str, *, has_private: bool) -> KeyFacts:
    path = folder / f"{client_id}{PUBLIC_SUFFIX}"
    if not path.exists():
        return KeyFacts(client_id=client_id, status="no: only the private key is here", has_private=has_private)
    try:
        key = load_public_key(path)
    except KeyStoreError as error:
        return KeyFacts(client_id=client_id, status=f"no: {error}", has_private=has_private)
    found = directory.find(client_id, key_id(key))
    return KeyFacts(
        client_id=client_id,
        status=_status(client_id, found, has_private=has_private, folder=folder),
        key_id=key_id(key),
        bits=key.key_size,
        has_private=has_private,
        max_examples=found.max_examples if found else None,
    )


def _status(client_id: str, found: EnrolledKey | None, *, has_private: bool, folder: Path) -> str:
    private = KeyStore(folder).private_path(client_id)
    if has_private and os.name == "posix" and stat.S_IMODE(private.stat().st_mode) & 0o077:
        return f"no: the private key can be read by others; run: chmod 600 {private}"
    if client_id == SERVER_ID:
        return SERVER
    if found is None:
        return f"no: {client_id}{FACTS_SUFFIX} cannot be read"
    return REVOKED if found.is_revoked else "yes"


def _check_client_id(client_id: str) -> None:
    if not is_valid_id(client_id):
        raise UsageError(
            f"client id {client_id[:80]!r} cannot name a key; use 1 to 64 letters, digits, '.', '_' or '-'"
        )
    if client_id == SERVER_ID:
        raise UsageError(f"{SERVER_ID!r} is the federation's own key; give the client another id")


def _check_replaceable(known: KeyFacts, name: str, directory: Path) -> None:
    if known.key_id != name:
        raise KeyStoreError(
            f"{known.client_id} has another key in {directory} ({known.key_id[:16]}...); add --replace to change it"
        )
    if known.status == REVOKED:
        raise KeyStoreError(
            f"this key of {known.client_id} was revoked; make a new one, or add --replace to allow it again"
        )


def _make_directory(directory: Path) -> None:
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    if os.name == "posix" and stat.S_IMODE(directory.stat().st_mode) & _OTHERS_WRITE:
        raise UsageError(
            f"directory {directory} can be written by others, who could enroll keys; run: chmod go-w {directory}"
        )


def _write_facts(directory: Path, client_id: str, *, is_revoked: bool, max_examples: int | None) -> None:
    path = directory / f"{client_id}{FACTS_SUFFIX}"
    lines = ["revoked = true\n"] * is_revoked
    lines += [f"max-examples = {max_examples}\n"] * (max_examples is not None)
    if lines:
        write_atomically(path, "".join(lines))
    else:
        path.unlink(missing_ok=True)


def _unusable(directory: Path, error: OSError) -> UsageError:
    return UsageError(f"directory {directory} cannot be written: {error.strerror or error}; name another")
