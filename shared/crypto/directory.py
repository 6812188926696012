"""Who may sign: the directory binds a key to a client id, and says whether it still holds."""

from __future__ import annotations

import logging
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from shared.crypto.keys import PUBLIC_SUFFIX, SERVER_ID, is_valid_id, key_id, load_public_key
from shared.errors import KeyStoreError

FACTS_SUFFIX = ".toml"
_MAX_FACTS_BYTES = 64 * 1024

_log = logging.getLogger(__name__)

MaxExamples = Callable[[str], int | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolledKey:
    """One key that a client may sign with; its algorithm is RSA-PSS-SHA256, whatever a message says."""

    public_key: RSAPublicKey
    key_id: str
    is_revoked: bool = False
    max_examples: int | None = None  # the client never has more training examples than this


class KeyDirectory(Protocol):
    """Who may sign. Asked at each reply, so that revoking takes effect at once."""

    def find(self, client_id: str, key_id: str) -> EnrolledKey | None:
        """Return the key if it is enrolled for this client, revoked or not."""


class MemoryDirectory:
    """Enrolled keys in memory: for tests, and for directories that others keep."""

    def __init__(self) -> None:
        """Start empty."""
        self._keys: dict[tuple[str, str], EnrolledKey] = {}

    def enroll(self, client_id: str, key: RSAPublicKey, *, max_examples: int | None = None) -> str:
        """Let a key sign for a client; returns its key id."""
        name = key_id(key)
        self._keys[client_id, name] = EnrolledKey(public_key=key, key_id=name, max_examples=max_examples)
        return name

    def revoke(self, client_id: str, name: str) -> None:
        """Refuse a key from now on."""
        self._keys[client_id, name] = replace(self._keys[client_id, name], is_revoked=True)

    def find(self, client_id: str, key_id: str) -> EnrolledKey | None:
        """Return the key if it is enrolled for this client."""
        return self._keys.get((client_id, key_id))


class FolderDirectory:
    """Enrolled keys in a folder: ``<client-id>.pub.pem``, and facts in ``<client-id>.toml`` where there are any.

    Facts are ``revoked = true`` and ``max-examples = 600``. Files are read when a client first answers and again when
    they change. A file that cannot be read as what it should be means: this client is not enrolled.
    """

    def __init__(self, folder: Path, *, max_examples: MaxExamples | None = None) -> None:
        """Name the folder.

        Args:
            folder: It may still be empty, or not be there.
            max_examples: The most examples of a client whose facts name none; None where it is not known.
        """
        self._folder = folder
        self._folder_text = os.path.join(folder, "")
        self._max_examples = max_examples
        self._known: dict[str, tuple[_Version, EnrolledKey | None]] = {}

    def find(self, client_id: str, key_id: str) -> EnrolledKey | None:
        """Return the key if it is enrolled for this client."""
        found = self._read(client_id)
        return found if found is not None and found.key_id == key_id else None

    def _read(self, client_id: str) -> EnrolledKey | None:
        if not is_valid_id(client_id) or client_id == SERVER_ID:
            return None
        stem = f"{self._folder_text}{client_id}"  # a Path takes longer to make than the file system takes to answer
        version = (_version_of(stem + PUBLIC_SUFFIX), _version_of(stem + FACTS_SUFFIX))
        if version[0] is None:
            return None
        known = self._known.get(client_id)
        if known is None or known[0] != version:
            known = self._known[client_id] = (version, self._load(client_id))
        return known[1]

    def _load(self, client_id: str) -> EnrolledKey | None:
        try:
            key = load_public_key(self._folder / f"{client_id}{PUBLIC_SUFFIX}")
            is_revoked, max_examples = _read_facts(self._folder / f"{client_id}{FACTS_SUFFIX}")
        except (KeyStoreError, ValueError, OSError, RecursionError) as error:
            _log.warning("client %s is not enrolled: %s", client_id, error)
            return None
        if max_examples is None and self._max_examples is not None:
            max_examples = self._max_examples(client_id)
        return EnrolledKey(public_key=key, key_id=key_id(key), is_revoked=is_revoked, max_examples=max_examples)


_FileVersion = tuple[int, int, int] | None
_Version = tuple[_FileVersion, _FileVersion]


def _version_of(path: str) -> _FileVersion:
    if not os.access(path, os.F_OK):  # most clients have no facts, and an exception is dear
        return None
    try:
        found = os.stat(path)
    except OSError:  # not there, or not for us to see: either way nobody is enrolled by it
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _read_facts(path: Path) -> tuple[bool, int | None]:
    """Return whether the client is revoked and its most examples.

    Raises:
        ValueError: The file is not TOML, or holds something else than these facts.
        OSError: The file cannot be read.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FACTS_BYTES + 1)
    except FileNotFoundError:
        return False, None
    if len(data) > _MAX_FACTS_BYTES:  # what is cut off may be what revokes the key
        raise ValueError(f"{path} is larger than facts can be")
    facts: Mapping[str, object] = tomllib.loads(data.decode())
    unknown = sorted(facts.keys() - {"revoked", "max-examples"})
    revoked, max_examples = facts.get("revoked", False), facts.get("max-examples")
    if unknown:
        raise ValueError(f"{path} has an unknown key {unknown[0]!r}")
    if not isinstance(revoked, bool):
        raise ValueError(f"revoked in {path} must be true or false, got {revoked!r}")
    if max_examples is not None and (type(max_examples) is not int or max_examples < 1):
        raise ValueError(f"max-examples in {path} must be a whole number from 1 up, got {max_examples!r}")
    return revoked, max_examples
