"""Tells whether enough of a request has come to give it a thread. Pure: bytes in, a word out."""

from __future__ import annotations

import re
from enum import Enum

MAX_HEAD_BYTES = 32 * 1024  # a browser's cookies and headers are some kB
MAX_WAITED_BODY_BYTES = 64 * 1024  # larger bodies come from those who hold the token, and get a thread at once
_LENGTH = re.compile(rb"\r\ncontent-length[ \t]*:[ \t]*([0-9]{1,15})[ \t]*(?=\r\n)", re.IGNORECASE)
_END = b"\r\n\r\n"


class Progress(Enum):
    """How far a request has come."""

    INCOMPLETE = "incomplete"
    READY = "ready"
    TOO_LARGE = "too-large"


def progress(received: bytes | bytearray) -> Progress:
    """Judge what has come so far: the head, and a small body, must be whole.

    A head that is malformed counts as ready once it is whole: the parser refuses it with the right answer.
    """
    end = received.find(_END)
    if end < 0:
        return Progress.TOO_LARGE if len(received) > MAX_HEAD_BYTES else Progress.INCOMPLETE
    if end > MAX_HEAD_BYTES:
        return Progress.TOO_LARGE
    length = _LENGTH.search(bytes(received[: end + 2]))
    if length is None or int(length[1]) > MAX_WAITED_BODY_BYTES:
        return Progress.READY
    has_come = len(received) - end - len(_END)
    return Progress.READY if has_come >= int(length[1]) else Progress.INCOMPLETE
