"""Frames: any parts, of any number and size, aligned and whole."""

import socket
import struct
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine.frames import connected_pair, receive_frame, send_frame


def there_and_back(parts: list) -> list[bytes]:  # type: ignore[type-arg]
    ours, theirs = connected_pair()
    with ours, theirs:
        sender = threading.Thread(target=send_frame, args=(ours, parts))
        sender.start()
        received = receive_frame(theirs)
        sender.join()
        return [bytes(part) for part in received]


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_every_part_arrives_whole_and_in_order(parts: list[bytes]) -> None:
    assert there_and_back(parts) == parts


def test_a_list_of_buffers_arrives_as_one_part() -> None:
    many = [bytes([i % 256]) * 3 for i in range(2_000)]
    assert there_and_back([b"head", many, memoryview(b"tail")]) == [b"head", b"".join(many), b"tail"]


def test_parts_are_aligned_to_each_other() -> None:
    ours, theirs = connected_pair()
    with ours, theirs:
        send_frame(ours, [b"x", b"y" * 65, b"z"])
        first, second, third = receive_frame(theirs)
        base = first.obj
        starts = [bytes(base).index(letter) for letter in (b"x", b"y", b"z")]
        assert starts == [0, 64, 192]
        assert (bytes(first), bytes(second), bytes(third)) == (b"x", b"y" * 65, b"z")


@pytest.mark.parametrize("cut", [0, 1, 63, 64, 100])
def test_a_connection_that_breaks_in_a_frame_is_an_end_of_file(cut: int) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        frame = struct.pack(">8Q", 1, 200, 0, 0, 0, 0, 0, 0) + bytes(256)
        ours.sendall(frame[:cut])
        ours.close()
        with pytest.raises(EOFError):
            receive_frame(theirs)
