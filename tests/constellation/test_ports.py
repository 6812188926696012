"""The dashboard's port: the one that was named or nothing, the usual one or one near it."""

import socket
from collections.abc import Iterator

import pytest

from constellation.ports import free_port, port_for, why_not
from shared.errors import UsageError

HOST = "127.0.0.1"


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as holder:
        holder.bind((HOST, 0))
        holder.listen(1)
        yield int(holder.getsockname()[1])


def choose(port: int, said: list[str], *, is_wanted: bool) -> int:
    return port_for(HOST, port, option="--web-port", is_wanted=is_wanted, say=said.append)


def test_a_free_port_is_taken_as_it_is(taken: int) -> None:
    said: list[str] = []
    free = free_port(HOST, taken)
    assert choose(free, said, is_wanted=False) == free
    assert said == []


def test_a_taken_port_gives_way_and_it_is_said(taken: int) -> None:
    said: list[str] = []
    other = choose(taken, said, is_wanted=False)
    assert why_not(HOST, other) is None
    assert said == [f"port {taken} is taken (Address already in use): the dashboard takes {other}"]


def test_a_port_that_was_named_is_not_replaced(taken: int) -> None:
    with pytest.raises(UsageError, match=rf"port {taken} cannot be used .*; (\d+) is free: --web-port \1"):
        choose(taken, [], is_wanted=True)


def test_any_port_is_a_free_one() -> None:
    assert why_not(HOST, choose(0, [], is_wanted=True)) is None


def test_a_host_that_is_not_this_machines_is_one_sentence() -> None:
    with pytest.raises(UsageError, match=r"host 192\.0\.2\.1 cannot be served at"):
        port_for("192.0.2.1", 0, option="--port", is_wanted=True, say=print)
