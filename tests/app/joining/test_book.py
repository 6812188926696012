"""Who is let in: tokens run out, names keep their keys and their part of the data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from app.joining.book import UNLIMITED, Book, EnrollRefused
from shared.errors import StoreError
from shared.joining import EnrollRequest

NOW = 1_000.0


def request(name: str = "site-a", **changes: object) -> EnrollRequest:
    base = EnrollRequest(
        client_id=name,
        node_key=f"node key of {name}",
        signing_key=f"signing key of {name}",
        partition_id=-1,
        own_data=False,
        input_shape=[],
        num_classes=0,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return Book(tmp_path / "clients.sqlite")


def secret_of(book: Book, uses: int = UNLIMITED, expires: float = NOW + 10) -> str:
    return book.new_secret(expires=expires, uses=uses)


def test_each_client_is_given_the_first_free_part(book: Book) -> None:
    secret = secret_of(book)
    parts = [book.enroll(request(name), secret, NOW, 3).partition_id for name in ("a", "b", "c")]
    assert parts == [0, 1, 2]
    with pytest.raises(EnrollRefused, match="all 3 partitions of the data are taken"):
        book.enroll(request("d"), secret, NOW, 3)


def test_a_part_that_was_asked_for_is_given_unless_it_is_taken(book: Book) -> None:
    secret = secret_of(book)
    assert book.enroll(request("a", partition_id=1), secret, NOW, 2).partition_id == 1
    with pytest.raises(EnrollRefused, match="partition 1 is another client's"):
        book.enroll(request("b", partition_id=1), secret, NOW, 2)
    with pytest.raises(EnrollRefused, match="partition-id must be 0 to 1, got 2"):
        book.enroll(request("b", partition_id=2), secret, NOW, 2)
    assert book.enroll(request("b"), secret, NOW, 2).partition_id == 0


def test_own_data_takes_no_part(book: Book) -> None:
    secret = secret_of(book)
    assert book.enroll(request("a", own_data=True), secret, NOW, 1).partition_id is None
    assert book.enroll(request("b", own_data=True), secret, NOW, 1).partition_id is None
    assert book.enroll(request("c"), secret, NOW, 1).partition_id == 0


def test_a_client_that_asks_again_is_found_as_it_is_and_uses_nothing_up(book: Book, tmp_path: Path) -> None:
    secret = secret_of(book, uses=2)
    first = book.enroll(request("a"), secret, NOW, 3)
    book.close()
    again = Book(tmp_path / "clients.sqlite")
    assert again.enroll(request("a"), secret, NOW, 3) == first
    again.enroll(request("b"), secret, NOW, 3)
    assert not again.is_valid(secret, NOW)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"node_key": "another"}, "enrolled with other keys"),
        ({"signing_key": "another"}, "enrolled with other keys"),
        ({"own_data": True}, "enrolled with other data"),
        ({"partition_id": 2}, "has partition 0"),
    ],
)
def test_a_name_keeps_its_keys_and_its_data(book: Book, changes: dict[str, object], words: str) -> None:
    secret = secret_of(book)
    book.enroll(request("a"), secret, NOW, 3)
    with pytest.raises(EnrollRefused, match=words):
        book.enroll(request("a", **changes), secret, NOW, 3)


def test_a_node_key_is_one_clients(book: Book) -> None:
    secret = secret_of(book)
    book.enroll(request("a"), secret, NOW, 3)
    with pytest.raises(EnrollRefused, match="another client's"):
        book.enroll(request("b", node_key="node key of a"), secret, NOW, 3)


@pytest.mark.parametrize("name", ["", "server", "../a", "a/b", ".a", "a" * 65, "a.pub"])
def test_bad_names_are_refused(book: Book, name: str) -> None:
    with pytest.raises(EnrollRefused, match="client-id must be"):
        book.enroll(request(name), secret_of(book), NOW, 3)


def test_a_token_runs_out_by_use_and_by_time(book: Book) -> None:
    once, short = secret_of(book, uses=1), secret_of(book, expires=NOW)
    book.enroll(request("a"), once, NOW, 3)
    for secret in (once, short, "guessed"):
        assert not book.is_valid(secret, NOW)
        with pytest.raises(EnrollRefused, match="used up or has expired"):
            book.enroll(request("b"), secret, NOW, 3)


def test_a_refused_client_uses_nothing_up(book: Book) -> None:
    secret = secret_of(book, uses=1)
    with pytest.raises(EnrollRefused):
        book.enroll(request("a", partition_id=9), secret, NOW, 3)
    assert book.is_valid(secret, NOW)


def test_a_forgotten_secret_lets_nobody_in(book: Book) -> None:
    secret = secret_of(book)
    book.forget_secret(secret)
    assert not book.is_valid(secret, NOW)


def test_the_file_is_its_owners_and_does_not_hold_secrets(book: Book, tmp_path: Path) -> None:
    secret = secret_of(book)
    path = tmp_path / "clients.sqlite"
    assert path.stat().st_mode & 0o077 == 0
    assert secret.encode() not in path.read_bytes()


def test_something_else_is_no_book(tmp_path: Path) -> None:
    (tmp_path / "clients.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(StoreError):
        Book(tmp_path / "clients.sqlite")
