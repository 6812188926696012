"""Frames between the grid and its workers: lengths first, then raw parts; no pickle, no copies on the way out.

A frame is read with two calls wherever possible: each call gives the interpreter's lock away and must wait to get it
back, which takes longer than the reading when another thread is busy.
"""

from __future__ import annotations

import itertools
import socket
import struct
from collections.abc import Sequence

import numpy as np

Buffer = bytes | bytearray | memoryview
Part = Buffer | list[Buffer]  # a list is sent as one part, without putting it together first

_LENGTH = struct.Struct(">Q")
_FIRST_SIZES = 7  # part sizes that travel with their number; more follow behind
_HEAD = struct.Struct(f">{1 + _FIRST_SIZES}Q")
_ALIGNMENT = 64  # of each part: arrays inside of them are aligned relative to its start
_MAX_BUFFERS_A_CALL = 512  # sendmsg refuses more than IOV_MAX (1,024) buffers
_SOCKET_BUFFER_BYTES = 4 * 1024 * 1024  # asked for; the kernel gives what it allows


def connected_pair() -> tuple[socket.socket, socket.socket]:
    """Make the two ends of a connection, with as much room for what is on its way as the kernel allows."""
    pair = socket.socketpair()
    for end in pair:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER_BYTES)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SOCKET_BUFFER_BYTES)
    return pair


def send_frame(sock: socket.socket, parts: Sequence[Part]) -> None:
    """Send several byte strings as one frame.

    Raises:
        OSError: The other end is gone.
    """
    sizes: list[int] = []
    body: list[Buffer] = []
    for part in parts:
        buffers = part if isinstance(part, list) else [part]
        sizes.append(sum(map(len, buffers)))
        body += buffers
        body.append(bytes(-sizes[-1] % _ALIGNMENT))
    first = sizes[:_FIRST_SIZES] + [0] * (_FIRST_SIZES - len(sizes))
    head = _HEAD.pack(len(sizes), *first) + b"".join(map(_LENGTH.pack, sizes[_FIRST_SIZES:]))
    pending = [memoryview(buffer).cast("B") for buffer in (head, *body) if len(buffer)]
    while pending:
        sent = sock.sendmsg(pending[:_MAX_BUFFERS_A_CALL])
        while pending and sent >= len(pending[0]):
            sent -= len(pending.pop(0))
        if sent:
            pending[0] = pending[0][sent:]


def receive_frame(sock: socket.socket) -> list[memoryview]:
    """Receive one frame; the parts are views of one buffer.

    Raises:
        EOFError: The other end closed the connection.
        OSError: The other end is gone.
    """
    num_parts, *sizes = _HEAD.unpack(_receive(sock, _HEAD.size))
    if num_parts > _FIRST_SIZES:
        num_more = num_parts - _FIRST_SIZES
        sizes += struct.unpack(f">{num_more}Q", _receive(sock, _LENGTH.size * num_more))
    spans = [size + -size % _ALIGNMENT for size in sizes[:num_parts]]
    starts = [0, *itertools.accumulate(spans)]
    body = _receive(sock, starts[-1])
    return [body[start : start + size] for start, size in zip(starts, sizes[:num_parts], strict=False)]


def _receive(sock: socket.socket, num_bytes: int) -> memoryview:
    buffer = np.empty(num_bytes, np.uint8).data  # unlike a bytearray it is not filled with zeros first
    received = 0
    while received < num_bytes:
        count = sock.recv_into(buffer[received:])
        if count == 0:
            raise EOFError("the connection was closed")
        received += count
    return buffer
