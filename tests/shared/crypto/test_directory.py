"""Who may sign: enrolled, revoked, changed while the server runs, and files that are not what they should be."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from shared.crypto.directory import FolderDirectory, MemoryDirectory
from shared.crypto.keys import key_id, public_pem

KEYS = [rsa.generate_private_key(65537, 2048).public_key() for _ in range(2)]
IDS = [key_id(key) for key in KEYS]


def enroll(folder: Path, client: str = "client-0", *, key: int = 0, facts: str | None = None) -> None:
    (folder / f"{client}.pub.pem").write_bytes(public_pem(KEYS[key]))
    if facts is not None:
        _rewrite(folder / f"{client}.toml", facts)


def _rewrite(path: Path, text: str) -> None:
    """Write a file and make sure that its time differs, whatever the clock's resolution."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.write_text(text)
    os.utime(path, ns=(before + 1_000_000_000, before + 1_000_000_000))


def test_an_enrolled_key_is_found_for_its_client_only(tmp_path: Path) -> None:
    enroll(tmp_path)
    directory = FolderDirectory(tmp_path)

    found = directory.find("client-0", IDS[0])

    assert found is not None
    assert found.public_key.public_numbers() == KEYS[0].public_numbers()
    assert (found.is_revoked, found.max_examples) == (False, None)
    assert directory.find("client-1", IDS[0]) is None
    assert directory.find("client-0", IDS[1]) is None


def test_a_key_that_comes_later_is_found(tmp_path: Path) -> None:
    directory = FolderDirectory(tmp_path / "later")
    assert directory.find("client-0", IDS[0]) is None

    (tmp_path / "later").mkdir()
    enroll(tmp_path / "later")

    assert directory.find("client-0", IDS[0]) is not None


def test_facts_are_read(tmp_path: Path) -> None:
    enroll(tmp_path, facts="max-examples = 600\nrevoked = true\n")

    found = FolderDirectory(tmp_path).find("client-0", IDS[0])

    assert found is not None
    assert (found.is_revoked, found.max_examples) == (True, 600)


def test_revoking_takes_effect_at_the_next_reply(tmp_path: Path) -> None:
    enroll(tmp_path)
    directory = FolderDirectory(tmp_path)
    before = directory.find("client-0", IDS[0])

    enroll(tmp_path, facts="revoked = true")
    after = directory.find("client-0", IDS[0])

    assert before is not None
    assert after is not None
    assert (before.is_revoked, after.is_revoked) == (False, True)


def test_a_new_key_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    enroll(tmp_path)
    directory = FolderDirectory(tmp_path)
    assert directory.find("client-0", IDS[0]) is not None

    enroll(tmp_path, key=1)
    os.utime(tmp_path / "client-0.pub.pem", ns=(1, 1))

    assert directory.find("client-0", IDS[0]) is None
    assert directory.find("client-0", IDS[1]) is not None


def test_a_removed_key_is_not_enrolled(tmp_path: Path) -> None:
    enroll(tmp_path)
    directory = FolderDirectory(tmp_path)
    assert directory.find("client-0", IDS[0]) is not None

    (tmp_path / "client-0.pub.pem").unlink()

    assert directory.find("client-0", IDS[0]) is None


def test_a_folder_that_is_a_file_enrolls_nobody(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("")

    assert FolderDirectory(tmp_path / "keys").find("client-0", IDS[0]) is None


def test_unchanged_files_are_read_once(tmp_path: Path) -> None:
    enroll(tmp_path)
    directory = FolderDirectory(tmp_path)
    first = directory.find("client-0", IDS[0])

    assert directory.find("client-0", IDS[0]) is first


@pytest.mark.parametrize(
    "facts",
    ["not toml =", "revoked = 1", 'revoked = "no"', "max-examples = 0", "max-examples = 1.5", "revokd = true", "\0"],
)
def test_facts_that_cannot_be_read_mean_not_enrolled(
    tmp_path: Path, facts: str, caplog: pytest.LogCaptureFixture
) -> None:
    enroll(tmp_path, facts=facts)

    with caplog.at_level(logging.WARNING):
        assert FolderDirectory(tmp_path).find("client-0", IDS[0]) is None
    assert "client-0 is not enrolled" in caplog.text


@pytest.mark.parametrize("facts", ["#" * 65_536 + "\nrevoked = true\n", "max-examples = " + "[" * 60_000])
def test_facts_that_are_too_large_or_too_deep_mean_not_enrolled(tmp_path: Path, facts: str) -> None:
    enroll(tmp_path, facts=facts)

    assert FolderDirectory(tmp_path).find("client-0", IDS[0]) is None


def test_facts_that_are_not_text_mean_not_enrolled(tmp_path: Path) -> None:
    enroll(tmp_path)
    (tmp_path / "client-0.toml").write_bytes(b"\xff\xfe")

    assert FolderDirectory(tmp_path).find("client-0", IDS[0]) is None


def test_a_weak_or_broken_key_is_not_enrolled(tmp_path: Path) -> None:
    weak = rsa.generate_private_key(65537, 1024).public_key()
    (tmp_path / "weak.pub.pem").write_bytes(public_pem(weak))
    (tmp_path / "broken.pub.pem").write_bytes(b"nonsense")
    (tmp_path / "folder.pub.pem").mkdir()
    directory = FolderDirectory(tmp_path)

    assert directory.find("weak", key_id(weak)) is None
    assert directory.find("broken", IDS[0]) is None
    assert directory.find("folder", IDS[0]) is None


def test_the_servers_key_is_no_clients(tmp_path: Path) -> None:
    enroll(tmp_path, "server")

    assert FolderDirectory(tmp_path).find("server", IDS[0]) is None


@pytest.mark.parametrize("client", ["../client-0", "keys/../client-0", "", "client-0\0", "/client-0", "a" * 300])
def test_no_id_leads_out_of_the_folder(tmp_path: Path, client: str) -> None:
    enroll(tmp_path)
    (tmp_path / "keys").mkdir()

    assert FolderDirectory(tmp_path / "keys").find(client, IDS[0]) is None


def test_the_most_examples_can_come_from_elsewhere(tmp_path: Path) -> None:
    enroll(tmp_path)
    enroll(tmp_path, "client-1", facts="max-examples = 5")
    directory = FolderDirectory(tmp_path, max_examples={"client-0": 42, "client-1": 42}.get)

    found = [directory.find(client, IDS[0]) for client in ("client-0", "client-1")]

    assert [enrolled.max_examples for enrolled in found if enrolled] == [42, 5]


def test_a_directory_in_memory_enrolls_and_revokes() -> None:
    directory = MemoryDirectory()
    name = directory.enroll("client-0", KEYS[0], max_examples=7)
    enrolled = directory.find("client-0", name)
    directory.revoke("client-0", name)
    revoked = directory.find("client-0", name)

    assert enrolled is not None
    assert revoked is not None
    assert (enrolled.is_revoked, revoked.is_revoked, revoked.max_examples) == (False, True, 7)
    assert directory.find("client-1", name) is None
