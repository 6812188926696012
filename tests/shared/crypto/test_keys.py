"""Keys on disk: who can read them, who can make them, and what is refused."""

from __future__ import annotations

import base64
import hashlib
import multiprocessing
import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from shared.crypto.keys import (
    DEFAULT_KEY_BITS,
    KeyStore,
    is_valid_id,
    key_id,
    load_private_key,
    load_public_key,
    public_pem,
)
from shared.errors import KeyStoreError

posix_only = pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")


def store_in(folder: Path, password: bytes | None = None) -> KeyStore:
    return KeyStore(folder, password=password, key_bits=2048)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def pem_of(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def write_private(path: Path, data: bytes) -> Path:
    path.touch(mode=0o600)
    path.write_bytes(data)
    return path


def test_a_key_has_3072_bits_and_the_usual_exponent(tmp_path: Path) -> None:
    key = KeyStore(tmp_path / "keys").load_or_create("client-0")

    assert key.key_size == DEFAULT_KEY_BITS == 3072
    assert key.public_key().public_numbers().e == 65537


def test_a_key_is_made_once(tmp_path: Path) -> None:
    first = store_in(tmp_path).load_or_create("client-0")

    assert store_in(tmp_path).load_or_create("client-0").private_numbers() == first.private_numbers()
    assert store_in(tmp_path).load("client-0").private_numbers() == first.private_numbers()
    assert store_in(tmp_path).load_or_create("client-1").private_numbers() != first.private_numbers()


@posix_only
def test_a_key_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "keys"
    previous = os.umask(0)
    try:
        store_in(folder).load_or_create("client-0")
    finally:
        os.umask(previous)

    assert mode_of(folder) == 0o700
    assert mode_of(folder / "client-0.pem") == 0o600


def test_nothing_else_is_left_in_the_folder(tmp_path: Path) -> None:
    store_in(tmp_path).load_or_create("client-0")

    assert sorted(path.name for path in tmp_path.iterdir()) == ["client-0.pem", "client-0.pub.pem"]
    assert store_in(tmp_path).ids() == ["client-0"]


def test_the_public_half_is_exported_and_comes_back_when_it_is_lost(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    key = store.load_or_create("client-0")
    public = load_public_key(store.public_path("client-0"))
    store.public_path("client-0").unlink()
    store.load_or_create("client-0")

    assert public.public_numbers() == key.public_key().public_numbers()
    assert store.public_path("client-0").exists()
    assert b"PRIVATE" not in store.public_path("client-0").read_bytes()


def test_a_public_half_of_another_key_is_replaced(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    key = store.load_or_create("client-0")
    store.public_path("client-0").write_bytes(public_pem(rsa.generate_private_key(65537, 2048).public_key()))
    store.load_or_create("client-0")

    exported = load_public_key(store.public_path("client-0"))
    assert exported.public_numbers() == key.public_key().public_numbers()


@pytest.mark.parametrize("name", ["client-0", "server"])
def test_a_public_key_from_elsewhere_is_never_replaced(tmp_path: Path, name: str) -> None:
    enrolled = public_pem(rsa.generate_private_key(65537, 2048).public_key())
    (tmp_path / f"{name}.pub.pem").write_bytes(enrolled)

    with pytest.raises(KeyStoreError, match="was made elsewhere"):
        store_in(tmp_path).load_or_create(name)

    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [(f"{name}.pub.pem", enrolled)]


def test_no_private_key_lies_in_the_file_of_anothers_public_one(tmp_path: Path) -> None:
    assert not is_valid_id("client-0.pub")
    with pytest.raises(KeyStoreError, match="cannot name a key file"):
        store_in(tmp_path).private_path("client-0.pub")


def test_the_id_of_a_key_is_the_hash_of_its_spki(tmp_path: Path) -> None:
    public = store_in(tmp_path).load_or_create("client-0").public_key()
    # Independently: the DER inside the PEM is what `openssl pkey -pubin -outform DER | sha256sum` hashes.
    body = "".join(public_pem(public).decode().splitlines()[1:-1])
    assert key_id(public) == hashlib.sha256(base64.b64decode(body)).hexdigest()


@posix_only
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o644, 0o777])
def test_a_key_that_others_can_read_is_refused_with_the_command_to_run(tmp_path: Path, mode: int) -> None:
    store = store_in(tmp_path)
    store.load_or_create("client-0")
    store.private_path("client-0").chmod(mode)

    with pytest.raises(KeyStoreError, match=rf"chmod 600 {store.private_path('client-0')}"):
        store.load("client-0")


@posix_only
def test_a_folder_that_others_can_write_gets_no_keys(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o770)

    with pytest.raises(KeyStoreError, match="chmod 700"):
        store_in(folder).load_or_create("client-0")
    assert list(folder.iterdir()) == []


def test_a_password_encrypts_the_key(tmp_path: Path) -> None:
    key = store_in(tmp_path, b"correct horse").load_or_create("client-0")

    assert b"ENCRYPTED" in (tmp_path / "client-0.pem").read_bytes()
    assert store_in(tmp_path, b"correct horse").load("client-0").private_numbers() == key.private_numbers()


@pytest.mark.parametrize(
    ("made_with", "read_with", "says"),
    [
        (b"hunter-1", b"hunter-2", "cannot be read with this password"),
        (b"hunter-1", None, "give its password"),
        (None, b"hunter-2", "not encrypted"),
    ],
)
def test_a_wrong_password_is_said(tmp_path: Path, made_with: bytes | None, read_with: bytes | None, says: str) -> None:
    store_in(tmp_path, made_with).load_or_create("client-0")

    with pytest.raises(KeyStoreError, match=says) as caught:
        store_in(tmp_path, read_with).load("client-0")
    assert "hunter" not in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../a",
        "/etc/passwd",
        "a/b",
        "a\\b",
        ".hidden",
        "a\0b",
        "a b",
        "ä",
        "a\n",
        "x" * 65,
        "-" * 65,
        "a:b",
    ],
)
def test_an_id_cannot_leave_the_folder(tmp_path: Path, name: str) -> None:
    assert not is_valid_id(name)
    with pytest.raises(KeyStoreError, match="cannot name a key file"):
        store_in(tmp_path / "keys").load_or_create(name)
    assert list(tmp_path.rglob("*.pem")) == []


@pytest.mark.parametrize("name", ["a", "client-0", "A.b_c-9", "x" * 64])
def test_usual_names_are_ids(name: str) -> None:
    assert is_valid_id(name)


def _make_key(folder: Path, start: object) -> None:
    start.wait()  # type: ignore[attr-defined]
    key = store_in(folder).load_or_create("client-0")
    (folder / f"seen-{os.getpid()}").write_text(key_id(key.public_key()))


def test_processes_that_make_the_same_key_at_once_agree_on_one(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(3)
    processes = [context.Process(target=_make_key, args=(tmp_path, start)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)

    assert [process.exitcode for process in processes] == [0, 0, 0]
    seen = {path.read_text() for path in tmp_path.glob("seen-*")}
    assert seen == {key_id(load_public_key(tmp_path / "client-0.pub.pem"))}


def test_the_first_key_stands_when_a_second_is_made_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = store_in(tmp_path).load_or_create("client-0")
    monkeypatch.setattr(Path, "exists", lambda _: False)  # as it looked before the other process was done

    assert store_in(tmp_path).load_or_create("client-0").private_numbers() == first.private_numbers()


def test_a_missing_key_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(KeyStoreError, match="constellation keys"):
        store_in(tmp_path).load("client-0")


@pytest.mark.parametrize("data", [b"", b"not a key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_what_is_no_key_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(KeyStoreError):
        load_private_key(write_private(tmp_path / "a.pem", data))
    with pytest.raises(KeyStoreError):
        load_public_key(write_private(tmp_path / "b.pem", data))


def test_a_weak_key_is_refused(tmp_path: Path) -> None:
    weak = rsa.generate_private_key(65537, 1024)

    with pytest.raises(KeyStoreError, match="too weak"):
        load_private_key(write_private(tmp_path / "a.pem", pem_of(weak)))
    with pytest.raises(KeyStoreError, match="too weak"):
        load_public_key(write_private(tmp_path / "b.pem", public_pem(weak.public_key())))
    with pytest.raises(KeyStoreError, match="2048"):
        KeyStore(tmp_path, key_bits=1024)


def test_an_unusual_exponent_is_refused(tmp_path: Path) -> None:
    odd = rsa.generate_private_key(3, 2048)

    with pytest.raises(KeyStoreError, match="exponent"):
        load_private_key(write_private(tmp_path / "a.pem", pem_of(odd)))


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    curve = ec.generate_private_key(ec.SECP256R1())

    with pytest.raises(KeyStoreError, match="not an RSA key"):
        load_private_key(write_private(tmp_path / "a.pem", pem_of(curve)))


def test_a_damaged_key_is_refused(tmp_path: Path) -> None:
    # One wrong prime would give the other away with the first signature.
    numbers = rsa.generate_private_key(65537, 2048).private_numbers()
    damaged = rsa.RSAPrivateNumbers(
        p=numbers.p,
        q=numbers.q,
        d=numbers.d,
        dmp1=numbers.dmp1 ^ 2,
        dmq1=numbers.dmq1,
        iqmp=numbers.iqmp,
        public_numbers=numbers.public_numbers,
    ).private_key(unsafe_skip_rsa_key_validation=True)

    with pytest.raises(KeyStoreError, match="damaged"):
        load_private_key(write_private(tmp_path / "a.pem", pem_of(damaged)))


def test_a_folder_that_cannot_be_made_is_said_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(KeyStoreError, match="--key-dir"):
        store_in(tmp_path / "file" / "keys").load_or_create("client-0")
