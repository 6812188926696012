"""RSA keys on disk: made once, readable by their owner only, and never printed.

A private key is ``<id>.pem`` (PKCS8, encrypted when a password is given), its public half ``<id>.pub.pem``.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey, generate_private_key

from shared.errors import KeyStoreError
from shared.private_files import OTHERS_READ_OR_WRITE, OTHERS_WRITE, new_file, sync_folder

DEFAULT_KEY_BITS = 3072
MIN_KEY_BITS = 2048  # NIST SP 800-57: less is not to be used for new signatures
PUBLIC_EXPONENT = 65537
SERVER_ID = "server"  # the id of a federation's own key; no client may have it
_PUBLIC_MARK, PRIVATE_SUFFIX = ".pub", ".pem"
PUBLIC_SUFFIX = _PUBLIC_MARK + PRIVATE_SUFFIX

# An id is part of a file's name: no separators, no "..", no hidden files.
_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}")
_MAX_PEM_BYTES = 64 * 1024  # an RSA-16384 key is 13 kB: a larger file is not a key


def is_valid_id(client_id: str) -> bool:
    """Tell whether an id can be part of a file's name: 1 to 64 of ``A-Za-z0-9._-``, no leading dot.

    ``a.pub`` is none: its private key would lie in the file of a's public one.
    """
    return _ID.fullmatch(client_id) is not None and not client_id.endswith(_PUBLIC_MARK)


def key_id(key: RSAPublicKey) -> str:
    """Return the key's name: the hex SHA-256 of its SubjectPublicKeyInfo in DER."""
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def public_pem(key: RSAPublicKey) -> bytes:
    """Return the public key as PEM."""
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def parse_public_key(pem: bytes, *, where: str) -> RSAPublicKey:
    """Read a public key.

    Raises:
        KeyStoreError: It is not PEM, not RSA, or weaker than this project allows.
    """
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyStoreError(f"{where} is not a public key in PEM; export it again from its key store") from error
    if not isinstance(key, RSAPublicKey):
        raise KeyStoreError(f"{where} is not an RSA key; make one with `constellation keys`")
    _require_strength(key, where)
    return key


def load_public_key(path: Path) -> RSAPublicKey:
    """Read a public key from its file.

    Raises:
        KeyStoreError: The file cannot be read, or is not a public key that this project allows.
    """
    return parse_public_key(_read(path, is_private=False), where=str(path))


def load_private_key(path: Path, password: bytes | None = None) -> RSAPrivateKey:
    """Read a private key from its file.

    Raises:
        KeyStoreError: The file is missing, readable by others, encrypted with another password, damaged or too weak.
    """
    pem = _read(path, is_private=True)
    try:
        # OpenSSL's own check takes 90 ms a key, primality and all; _is_consistent finds a damaged file in 30 us.
        key = serialization.load_pem_private_key(pem, password, unsafe_skip_rsa_key_validation=True)
    except TypeError as error:
        hint = "is not encrypted, but a password was given" if password else "is encrypted: give its password"
        raise KeyStoreError(f"private key {path} {hint}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        hint = "cannot be read with this password" if password else "is not a private key in PEM"
        raise KeyStoreError(f"private key {path} {hint}; give the right one or restore the file") from error
    if not isinstance(key, RSAPrivateKey):
        raise KeyStoreError(f"private key {path} is not an RSA key; make one with `constellation keys`")
    _require_strength(key.public_key(), f"private key {path}")
    if not _is_consistent(key):
        raise KeyStoreError(f"private key {path} is damaged; restore it or enroll a new one")
    return key


class KeyStore:
    """A folder of private keys, one an id; several processes may use it at once."""

    def __init__(self, folder: Path, *, password: bytes | None = None, key_bits: int = DEFAULT_KEY_BITS) -> None:
        """Name the folder; it is made, readable by its owner only, when the first key is.

        Raises:
            KeyStoreError: ``key_bits`` is below what this project allows.
        """
        if key_bits < MIN_KEY_BITS:
            raise KeyStoreError(f"keys must have at least {MIN_KEY_BITS} bits, got {key_bits}")
        self.folder = folder
        self._password = password
        self._key_bits = key_bits

    def private_path(self, client_id: str) -> Path:
        """Return where the private key of ``client_id`` lies.

        Raises:
            KeyStoreError: The id cannot be part of a file's name.
        """
        return self.folder / f"{_checked(client_id)}{PRIVATE_SUFFIX}"

    def public_path(self, client_id: str) -> Path:
        """Return where the public key of ``client_id`` lies.

        Raises:
            KeyStoreError: The id cannot be part of a file's name.
        """
        return self.folder / f"{_checked(client_id)}{PUBLIC_SUFFIX}"

    def ids(self) -> list[str]:
        """Return whose private keys are here, sorted."""
        names = (path.name for path in self.folder.glob(f"*{PRIVATE_SUFFIX}"))
        return sorted(name.removesuffix(PRIVATE_SUFFIX) for name in names if not name.endswith(PUBLIC_SUFFIX))

    def load(self, client_id: str) -> RSAPrivateKey:
        """Read the private key of ``client_id``.

        Raises:
            KeyStoreError: There is none, or it may not be used as it is.
        """
        return load_private_key(self.private_path(client_id), self._password)

    def load_or_create(self, client_id: str) -> RSAPrivateKey:
        """Read the private key of ``client_id``, or make it; its public half is exported beside it.

        Processes that make the same key at once agree on one.

        Raises:
            KeyStoreError: The key may not be used as it is, the folder cannot be written, or the client is enrolled
                here with a key that was made elsewhere: it is not replaced.
        """
        path, public_path = self.private_path(client_id), self.public_path(client_id)
        try:
            is_exported = public_path.exists()  # asked first: of a key made here the private half is the older
            if not path.exists():
                if is_exported:
                    raise KeyStoreError(
                        f"{public_path} was made elsewhere: its private half is not here; name another "
                        "folder with --key-dir"
                    )
                _make_private_folder(self.folder)
                self._create(path)
            key = self.load(client_id)
            if not self._is_exported(client_id, key):
                self.export_public(client_id, key)
        except OSError as error:
            raise KeyStoreError(
                f"key folder {self.folder} cannot be used: {error.strerror or error}; name another with --key-dir"
            ) from error
        return key

    def export_public(self, client_id: str, key: RSAPrivateKey) -> Path:
        """Write the public half for whoever enrolls it; returns its path."""
        path = self.public_path(client_id)
        with new_file(self.folder, public_pem(key.public_key()), mode=0o644) as temporary:
            os.replace(temporary, path)
        return path

    def _is_exported(self, client_id: str, key: RSAPrivateKey) -> bool:
        path = self.public_path(client_id)
        return path.exists() and path.read_bytes() == public_pem(key.public_key())

    def _create(self, path: Path) -> None:
        key = generate_private_key(PUBLIC_EXPONENT, self._key_bits)
        encryption = (
            serialization.BestAvailableEncryption(self._password) if self._password else serialization.NoEncryption()
        )
        pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
        with new_file(self.folder, pem, mode=0o600) as temporary, contextlib.suppress(FileExistsError):
            os.link(temporary, path)  # fails when another process was first: then its key is the one
        sync_folder(self.folder)


def _checked(client_id: str) -> str:
    if not is_valid_id(client_id):
        raise KeyStoreError(
            f"client id {client_id[:80]!r} cannot name a key file; use 1 to 64 letters, digits, '.', '_' or '-'"
        )
    return client_id


def _make_private_folder(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.name == "posix" and stat.S_IMODE(folder.stat().st_mode) & OTHERS_WRITE:
        raise KeyStoreError(f"key folder {folder} can be written by others; run: chmod 700 {folder}")


def _read(path: Path, *, is_private: bool) -> bytes:
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)  # of the very file that is read
            if is_private and os.name == "posix" and mode & OTHERS_READ_OR_WRITE:
                raise KeyStoreError(f"private key {path} can be read by others; run: chmod 600 {path}")
            return file.read(_MAX_PEM_BYTES)
    except OSError as error:
        raise KeyStoreError(
            f"key {path} cannot be read: {error.strerror}; make it with `constellation keys`"
        ) from error


def _require_strength(key: RSAPublicKey, where: str) -> None:
    if key.key_size < MIN_KEY_BITS or key.public_numbers().e != PUBLIC_EXPONENT:
        raise KeyStoreError(
            f"{where} is too weak: RSA of at least {MIN_KEY_BITS} bits with exponent {PUBLIC_EXPONENT} is required"
        )


def _is_consistent(key: RSAPrivateKey) -> bool:
    """Check that the parts of a key fit: a signature made with one damaged prime gives the other one away."""
    numbers = key.private_numbers()
    p, q, e = numbers.p, numbers.q, numbers.public_numbers.e
    return (
        p * q == numbers.public_numbers.n
        and e * numbers.dmp1 % (p - 1) == 1
        and e * numbers.dmq1 % (q - 1) == 1
        and numbers.iqmp * q % p == 1
    )
