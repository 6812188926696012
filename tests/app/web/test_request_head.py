from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.web.request_head import MAX_HEAD_BYTES, MAX_WAITED_BODY_BYTES, Progress, progress

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nContent-Length: 5\r\nHost: localhost\r\n\r\nhello"


@pytest.mark.parametrize("whole", [GET, POST, POST.replace(b"Content-Length: ", b"content-length:\t")])
def test_a_request_is_ready_with_its_last_byte_and_not_before(whole: bytes) -> None:
    assert [progress(whole[:size]) for size in range(len(whole))] == [Progress.INCOMPLETE] * len(whole)
    assert progress(whole) is Progress.READY
    assert progress(whole + b"GET / next") is Progress.READY


def test_a_large_body_does_not_have_to_be_waited_for() -> None:
    head = b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n"
    assert progress(head % MAX_WAITED_BODY_BYTES) is Progress.INCOMPLETE
    assert progress(head % (MAX_WAITED_BODY_BYTES + 1)) is Progress.READY


def test_a_head_without_end_is_too_large() -> None:
    assert progress(b"GET / HTTP/1.1\r\nX: " + b"x" * MAX_HEAD_BYTES) is Progress.TOO_LARGE
    assert progress(b"G" * MAX_HEAD_BYTES + GET) is Progress.TOO_LARGE


@given(st.binary(max_size=300))
def test_no_bytes_break_it(received: bytes) -> None:
    assert progress(received) in Progress
