"""Frames between the grid and its workers: lengths first, then raw parts; no pickle, no copies on the way out."""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence

Part = bytes | bytearray | memoryview
_LENGTH = struct.Struct(">Q")
_MAX_PARTS_A_CALL = 64  # sendmsg refuses more than IOV_MAX (1,024) buffers


def send_frame(sock: socket.socket, parts: Sequence[Part]) -> None:
    """Send several byte strings as one frame.

    Raises:
        OSError: The other end is gone.
    """
    sizes = [_LENGTH.pack(len(part)) for part in parts]
    pending = [memoryview(part).cast("B") for part in (_LENGTH.pack(len(parts)), *sizes, *parts) if len(part)]
    while pending:
        sent = sock.sendmsg(pending[:_MAX_PARTS_A_CALL])
        while pending and sent >= len(pending[0]):
            sent -= len(pending.pop(0))
        if sent:
            pending[0] = pending[0][sent:]


def receive_frame(sock: socket.socket) -> list[memoryview]:
    """Receive one frame.

    Raises:
        EOFError: The other end closed the connection.
        OSError: The other end is gone.
    """
    (num_parts,) = _LENGTH.unpack(_receive(sock, _LENGTH.size))
    sizes = struct.unpack(f">{num_parts}Q", _receive(sock, _LENGTH.size * num_parts))
    return [_receive(sock, size) for size in sizes]


def _receive(sock: socket.socket, num_bytes: int) -> memoryview:
    buffer = memoryview(bytearray(num_bytes))
    received = 0
    while received < num_bytes:
        count = sock.recv_into(buffer[received:])
        if count == 0:
            raise EOFError("the connection was closed")
        received += count
    return buffer
