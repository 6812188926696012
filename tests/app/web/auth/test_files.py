"""The secrets on disk: made once, for their owner alone."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from app.web.auth.private_files import create_private, read_private, write_private
from app.web.auth.sessions import LIFETIME_S, MAX_SESSIONS, SESSIONS_FILE, Sessions
from app.web.auth.token_file import operator_token
from shared.errors import KeyStoreError


def test_the_token_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    token = operator_token(tmp_path)
    assert operator_token(tmp_path) == token
    assert len(token) == 43  # 32 random bytes in base64
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["token"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o602, 0o666])
def test_a_token_that_others_could_read_or_write_is_refused(tmp_path: Path, mode: int) -> None:
    operator_token(tmp_path)
    (tmp_path / "token").chmod(mode)
    with pytest.raises(KeyStoreError, match="chmod go="):
        operator_token(tmp_path)


def test_a_link_in_place_of_the_token_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "elsewhere"
    create_private(secret, b"x" * 43)
    (tmp_path / "token").symlink_to(secret)
    with pytest.raises(KeyStoreError, match="cannot be read"):
        operator_token(tmp_path)


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 43, b"with space " * 5])
def test_a_file_that_holds_no_token_is_refused(tmp_path: Path, content: bytes) -> None:
    create_private(tmp_path / "token", content)
    with pytest.raises(KeyStoreError, match="holds no token"):
        operator_token(tmp_path)


def test_a_private_file_is_made_by_exactly_one(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    assert create_private(path, b"first")
    assert not create_private(path, b"second")
    assert read_private(path) == b"first"


def test_a_private_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    write_private(path, b"old")
    write_private(path, b"new")
    assert read_private(path) == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_session_survives_a_restart_and_ends_when_it_is_revoked(tmp_path: Path) -> None:
    token = Sessions(tmp_path, lambda: 0.0).create()
    again = Sessions(tmp_path, lambda: LIFETIME_S - 1)
    assert again.is_valid(token)
    assert not Sessions(tmp_path, lambda: LIFETIME_S).is_valid(token)
    again.revoke(token)
    assert not again.is_valid(token)
    assert not Sessions(tmp_path, lambda: 0.0).is_valid(token)


def test_the_sessions_file_gives_no_session_away(tmp_path: Path) -> None:
    token = Sessions(tmp_path, lambda: 0.0).create()
    text = (tmp_path / SESSIONS_FILE).read_text()
    assert token not in text
    (tmp_path / SESSIONS_FILE).chmod(0o644)
    with pytest.raises(KeyStoreError):
        Sessions(tmp_path, lambda: 0.0)


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"x": "y"}', b"null", b"\xff"])
def test_a_damaged_sessions_file_signs_everybody_out(tmp_path: Path, content: bytes) -> None:
    write_private(tmp_path / SESSIONS_FILE, content)
    sessions = Sessions(tmp_path, lambda: 0.0)
    assert not sessions.is_valid("x")
    assert sessions.is_valid(sessions.create())


def test_sessions_are_bounded_and_the_oldest_goes(tmp_path: Path) -> None:
    sessions = Sessions(tmp_path, lambda: 0.0)
    first = sessions.create()
    rest = [sessions.create() for _ in range(MAX_SESSIONS)]
    assert not sessions.is_valid(first)
    assert all(sessions.is_valid(token) for token in rest)
