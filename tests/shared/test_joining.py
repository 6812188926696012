"""Invitations as one word and as a file: whole, or refused."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import UsageError
from shared.joining import Invitation, read_join_file, write_join_file

INVITATION = Invitation(address="192.0.2.7:8080", enroll_port=8082, authority="ab" * 32, secret="s3cret")


def test_a_token_is_one_word_and_comes_back_whole() -> None:
    token = INVITATION.to_token()
    assert token.startswith("cst1.")
    assert len(token.split()) == 1
    assert Invitation.from_token(token) == INVITATION


@given(st.text(max_size=100))
def test_text_of_any_kind_is_a_usage_error(text: str) -> None:
    for token in (text, f"cst1.{text}"):
        with contextlib.suppress(UsageError):
            Invitation.from_token(token)


def test_a_token_that_was_cut_is_refused() -> None:
    token = INVITATION.to_token()
    for end in range(0, len(token) - 1, 7):
        with pytest.raises(UsageError, match="not a whole one"):
            Invitation.from_token(token[:end])


def test_a_join_file_is_its_owners_and_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "join" / "8080.json"
    assert read_join_file(path) is None
    write_join_file(path, INVITATION)
    assert path.stat().st_mode & 0o077 == 0
    assert path.parent.stat().st_mode & 0o077 == 0
    assert read_join_file(path) == INVITATION


def test_a_join_file_that_others_can_read_or_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "8080.json"
    write_join_file(path, INVITATION)
    path.chmod(0o644)
    with pytest.raises(UsageError, match="not only yours"):
        read_join_file(path)
    path.chmod(0o600)
    path.write_text("{}")
    with pytest.raises(UsageError, match="holds no invitation"):
        read_join_file(path)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    write_join_file(tmp_path / "real.json", INVITATION)
    (tmp_path / "8080.json").symlink_to(tmp_path / "real.json")
    with pytest.raises(UsageError, match="cannot be read"):
        read_join_file(tmp_path / "8080.json")
