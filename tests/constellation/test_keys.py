"""`constellation keys`: keys are made once, shown without their private part, enrolled and revoked."""

import json
import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from constellation import cli
from shared.crypto.directory import FolderDirectory
from shared.crypto.keys import KeyStore, key_id, load_public_key, public_pem
from shared.errors import KeyStoreError
from tests.actors import private_key

posix = pytest.mark.skipif(os.name != "posix", reason="rights of files are POSIX's")


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    code = cli.call(cli.build_app(), ["keys", *map(str, arguments)])
    said = capsys.readouterr()
    assert "PRIVATE" not in said.out + said.err
    return code, said.out, said.err


def public_file(folder: Path, name: str) -> Path:
    """Write the public key that a client would send."""
    path = folder / f"{name}-sent.pem"
    path.write_bytes(public_pem(private_key(name).public_key()))
    return path


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "enrolled"


def test_a_key_is_made_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "keys"
    code, out, err = call(capsys, "make", "alice", "--key-dir", folder, "--bits", 2048, "--json")
    assert (code, err) == (0, "")
    first = json.loads(out)
    key = load_public_key(folder / "alice.pub.pem")
    assert (first["key_id"], first["bits"], first["is_new"]) == (key_id(key), 2048, True)
    again = json.loads(call(capsys, "make", "alice", "--key-dir", folder, "--bits", 3072, "--json")[1])
    assert (again["key_id"], again["bits"], again["is_new"]) == (key_id(key), 2048, False)
    assert "kept the key that is there" in call(capsys, "make", "alice", "--key-dir", folder)[1]


@posix
def test_a_new_key_is_its_owners_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "keys"
    call(capsys, "make", "alice", "--key-dir", folder, "--bits", 2048)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "alice.pem").stat().st_mode) == 0o600


@pytest.mark.parametrize("way", ["file", "environment"])
def test_a_password_encrypts_the_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    folder, arguments = tmp_path / "keys", []
    if way == "file":
        path = tmp_path / "password"
        path.write_text("correct horse\n")
        path.chmod(0o600)
        arguments = ["--password-file", path]
    else:
        monkeypatch.setenv("CONSTELLATION_KEY_PASSWORD", "correct horse")
    code, out, err = call(capsys, "make", "alice", "--key-dir", folder, "--bits", 2048, *arguments)
    assert (code, err) == (0, "")
    assert "correct horse" not in out
    assert KeyStore(folder, password=b"correct horse").load("alice")
    with pytest.raises(KeyStoreError, match="is encrypted"):
        KeyStore(folder).load("alice")


@posix
def test_a_password_file_that_others_can_read_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "password"
    path.write_text("correct horse\n")
    path.chmod(0o644)
    code, _, err = call(capsys, "make", "alice", "--key-dir", tmp_path / "keys", "--password-file", path)
    assert code == 2
    assert err == f"error: password file {path} can be read by others; run: chmod 600 {path}\n"
    assert not (tmp_path / "keys").exists()


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["../alice"], "client id '../alice' cannot name a key file"),
        ([".hidden"], "cannot name a key file"),
        (["alice", "--bits", "1024"], "keys must have at least 2048 bits, got 1024"),
        (["alice", "--bits", "99999"], "--bits must be at most 8192, got 99999"),
        (["alice", "--password-file", "/no/such/file"], "password file /no/such/file cannot be read"),
        (["alice", "--password-file", "/dev/null"], "password file /dev/null"),
    ],
)
def test_a_key_that_cannot_be_made_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], part: str
) -> None:
    code, out, err = call(capsys, "make", *arguments, "--key-dir", tmp_path / "keys")
    assert code in (1, 2)
    assert out == ""
    assert part in err
    assert err.count("\n") == 1
    assert not (tmp_path / "keys").exists()


def test_an_enrolled_key_may_sign_and_a_revoked_one_may_not(
    tmp_path: Path, directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = key_id(private_key("alice").public_key())
    sent = public_file(tmp_path, "alice")
    watching = FolderDirectory(directory)  # as a run that is under way
    assert call(capsys, "enroll", sent, "--client-id", "alice", "--directory", directory, "--max-examples", 600)[0] == 0
    found = watching.find("alice", name)
    assert found is not None
    assert (found.is_revoked, found.max_examples) == (False, 600)
    code, out, _ = call(capsys, "revoke", "alice", "--directory", directory, "--json")
    assert (code, json.loads(out)["key_id"]) == (0, name)
    revoked = watching.find("alice", name)
    assert revoked is not None
    assert (revoked.is_revoked, revoked.max_examples) == (True, 600)
    code, _, err = call(capsys, "enroll", sent, "--client-id", "alice", "--directory", directory)
    assert code == 1
    assert "was revoked; make a new one, or add --replace" in err
    assert call(capsys, "enroll", sent, "--client-id", "alice", "--directory", directory, "--replace")[0] == 0
    back = watching.find("alice", name)
    assert back is not None
    assert (back.is_revoked, back.max_examples) == (False, None)


def test_another_key_needs_a_word(tmp_path: Path, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = public_file(tmp_path, "alice"), public_file(tmp_path, "mallory")
    call(capsys, "enroll", first, "--client-id", "alice", "--directory", directory)
    code, _, err = call(capsys, "enroll", second, "--client-id", "alice", "--directory", directory)
    assert code == 1
    assert "alice has another key in" in err
    assert load_public_key(directory / "alice.pub.pem") == private_key("alice").public_key()
    call(capsys, "enroll", second, "--client-id", "alice", "--directory", directory, "--replace")
    assert load_public_key(directory / "alice.pub.pem") == private_key("mallory").public_key()


def test_one_key_is_not_enrolled_for_two_clients(
    tmp_path: Path, directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sent = public_file(tmp_path, "alice")
    call(capsys, "enroll", sent, "--client-id", "alice", "--directory", directory)
    code, _, err = call(capsys, "enroll", sent, "--client-id", "bob", "--directory", directory, "--replace")
    assert code == 1
    assert "this key belongs to alice" in err
    assert not (directory / "bob.pub.pem").exists()


def test_what_is_no_public_key_is_not_enrolled(
    tmp_path: Path, directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    private = tmp_path / "private.pem"
    private.write_bytes(
        private_key("alice").private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    other = tmp_path / "elliptic.pem"
    other.write_bytes(
        ec.generate_private_key(ec.SECP256R1())
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    text = tmp_path / "text.txt"
    text.write_text("hello")
    for path in (private, other, text, tmp_path / "nothing.pem", tmp_path):
        code, _, err = call(capsys, "enroll", path, "--client-id", "alice", "--directory", directory)
        assert code == 1
        assert str(path) in err
        assert err.count("\n") == 1
    assert not directory.exists()


@pytest.mark.parametrize("client_id", ["server", "../alice", "", "a/b", "x" * 65])
def test_an_id_that_is_no_clients_is_not_enrolled(
    tmp_path: Path, directory: Path, capsys: pytest.CaptureFixture[str], client_id: str
) -> None:
    sent = public_file(tmp_path, "alice")
    code, _, err = call(capsys, "enroll", sent, "--client-id", client_id, "--directory", directory)
    assert code == 2
    assert err.startswith("error: ")
    assert not directory.exists()


def test_a_bound_is_a_positive_number(tmp_path: Path, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sent = public_file(tmp_path, "alice")
    code, _, err = call(capsys, "enroll", sent, "--client-id", "a", "--directory", directory, "--max-examples", 0)
    assert code == 2
    assert "--max-examples must be a whole number from 1 up, got 0" in err
    assert not directory.exists()


@posix
def test_a_directory_that_others_can_write_to_is_refused(
    tmp_path: Path, directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory.mkdir()
    directory.chmod(0o777)
    code, _, err = call(
        capsys, "enroll", public_file(tmp_path, "alice"), "--client-id", "alice", "--directory", directory
    )
    assert code == 2
    assert "can be written by others" in err
    assert list(directory.iterdir()) == []


def test_a_directory_below_a_file_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sent = public_file(tmp_path, "alice")
    code, _, err = call(capsys, "enroll", sent, "--client-id", "alice", "--directory", sent / "below")
    assert code == 2
    assert f"{sent}/below" in err


def test_who_was_never_enrolled_cannot_be_revoked(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, "revoke", "alice", "--directory", directory)
    assert code == 1
    assert f"alice has no key in {directory}" in err


def test_show_tells_everything_but_private_parts(
    tmp_path: Path, directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, more in (("alice", ["--max-examples", "600"]), ("bob", [])):
        call(capsys, "enroll", public_file(tmp_path, name), "--client-id", name, "--directory", directory, *more)
    call(capsys, "revoke", "bob", "--directory", directory)
    call(capsys, "make", "server", "--key-dir", directory, "--bits", 2048)
    (directory / "carol.pub.pem").write_text("rubbish")
    (directory / "dave.pub.pem").write_bytes(public_pem(private_key("dave").public_key()))
    (directory / "dave.toml").write_text("revoked = 'perhaps'")
    code, out, _ = call(capsys, "show", "--key-dir", directory, "--json")
    keys = {key["client_id"]: key for key in json.loads(out)["keys"]}
    assert code == 0
    assert list(keys) == ["alice", "bob", "carol", "dave", "server"]
    assert (keys["alice"]["status"], keys["alice"]["max_examples"]) == ("yes", 600)
    assert keys["alice"]["key_id"] == key_id(private_key("alice").public_key())
    assert keys["bob"]["status"] == "revoked"
    assert "is not a public key" in keys["carol"]["status"]
    assert keys["dave"]["status"] == "no: dave.toml cannot be read"
    assert (keys["server"]["status"], keys["server"]["has_private"]) == ("server", True)
    shown = call(capsys, "show", "--key-dir", directory)[1]
    assert "alice: RSA, 2048 bits, may sign: yes, at most 600 examples\n" in shown
    assert f"    {keys['alice']['key_id']}\n" in shown
    assert (directory / "server.pem").read_text().splitlines()[1] not in shown + out


def test_show_counts_numbers_as_a_person_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for client_id in ("client-10", "client-2", "b", "7"):
        (tmp_path / f"{client_id}.pub.pem").write_text("rubbish")
    shown = json.loads(call(capsys, "show", "--key-dir", tmp_path, "--json")[1])
    assert [key["client_id"] for key in shown["keys"]] == ["7", "b", "client-2", "client-10"]


@posix
def test_show_names_a_private_key_that_others_can_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call(capsys, "make", "alice", "--key-dir", tmp_path, "--bits", 2048)
    (tmp_path / "alice.pem").chmod(0o640)
    assert (
        f"can be read by others; run: chmod 600 {tmp_path}/alice.pem" in call(capsys, "show", "--key-dir", tmp_path)[1]
    )


def test_show_of_nothing_is_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "show", "--key-dir", tmp_path / "none")[:2] == (0, f"0 keys in {tmp_path}/none\n")


def test_the_servers_key_is_for_the_clients_and_not_to_be_enrolled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = call(capsys, "make", "server", "--key-dir", tmp_path / "keys", "--bits", 2048)
    assert out.splitlines()[-1] == "give server.pub.pem to each client, beside its own key"
