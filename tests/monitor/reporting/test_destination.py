from __future__ import annotations

from pathlib import Path

import pytest

from monitor.reporting.destination import Destination, fixed_token, parse_destination, token_file
from shared.errors import UsageError


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:5000", Destination(scheme="http", host="127.0.0.1", port=5000)),
        ("http://127.0.0.1:5000/", Destination(scheme="http", host="127.0.0.1", port=5000)),
        ("https://fl.example/team/", Destination(scheme="https", host="fl.example", port=443, prefix="/team")),
        ("http://[::1]:81", Destination(scheme="http", host="::1", port=81)),
    ],
)
def test_addresses_are_read(url: str, expected: Destination) -> None:
    assert parse_destination(url) == expected


def test_an_address_is_written_as_a_person_writes_it() -> None:
    assert parse_destination("http://[::1]:81/x").url == "http://[::1]:81/x"


@pytest.mark.parametrize(
    "url",
    [
        "", "127.0.0.1:5000", "ftp://host", "http://", "http://host:99999", "http://host:x", "file:///etc/passwd",
        "http://me:secret@host", "http://host/?token=secret", "http://host/\r\nX: y", "http://ho st", "http://[::1",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused_without_repeating_a_secret(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_destination(url)
    assert "secret" not in str(caught.value)


def test_a_token_file_is_read_anew_each_time(tmp_path: Path) -> None:
    path = tmp_path / "token"
    token = token_file(path)
    with pytest.raises(UsageError, match="cannot be read"):
        token()
    path.touch(mode=0o600)
    path.write_text("first\n")
    assert token() == "first"
    path.write_text("second")
    assert token() == "second"


def test_a_token_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("secret")
    path.chmod(0o640)
    with pytest.raises(UsageError, match=r"0640.*chmod 600") as caught:
        token_file(path)()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "two words", "a\r\nX-Evil: 1", "é", "x" * 600])
def test_what_could_not_be_a_token_is_refused_and_not_shown(tmp_path: Path, content: str) -> None:
    path = tmp_path / "token"
    path.touch(mode=0o600)
    path.write_text(content)
    with pytest.raises(UsageError, match="does not hold a token"):
        token_file(path)()
    if content:
        with pytest.raises(UsageError, match="does not hold a token"):
            fixed_token(content)


def test_no_token_is_none() -> None:
    assert fixed_token("")() == ""
