"""What passes the door and what does not; a real socket on both sides, and requests that try to bring another along."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from app.joining.front_door import MAX_HEAD_BYTES, BadRequest, FrontDoor, check_passes, parse_head

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def head_of(first_line: str, *lines: str) -> bytes:
    return ("\r\n".join([first_line, *lines]) + "\r\n\r\n").encode()


class Upstream:
    """A SuperLink that writes down what reaches it."""

    def __init__(self) -> None:
        self.seen = bytearray()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            self.seen += data
            if b"\r\n\r\n" in self.seen:
                writer.write(OK)
        writer.close()
        await writer.wait_closed()


def through_the_door(
    talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bytes]],
) -> tuple[bytes, bytes]:
    """Let ``talk`` speak to the door; return what it heard and what the SuperLink saw."""

    async def run() -> tuple[bytes, bytes]:
        upstream = Upstream()
        inner = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
        door = FrontDoor("127.0.0.1", inner.sockets[0].getsockname()[1], None)
        outer = await asyncio.start_server(door.serve, "127.0.0.1", 0, limit=MAX_HEAD_BYTES)
        reader, writer = await asyncio.open_connection("127.0.0.1", outer.sockets[0].getsockname()[1])
        try:
            heard = await asyncio.wait_for(talk(reader, writer), 20)
        finally:
            writer.close()
            await writer.wait_closed()
            outer.close()
            inner.close()
            if tasks := asyncio.all_tasks() - {asyncio.current_task()}:
                await asyncio.wait(tasks, timeout=20)
        return heard, bytes(upstream.seen)

    return asyncio.run(run())


def say(data: bytes) -> tuple[bytes, bytes]:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(data)
        writer.write_eof()
        return await reader.read()

    return through_the_door(talk)


def test_a_nodes_call_passes_with_its_body_and_the_answer_comes_back() -> None:
    call = head_of("POST /v1/fleet/pull-messages HTTP/1.1", "host: x", "content-length: 5") + b"hello"
    heard, seen = say(call)
    assert heard == OK
    assert seen.endswith(b"\r\n\r\nhello")


def test_a_connection_is_used_again() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        heard = b""
        for _ in range(3):
            writer.write(head_of("GET /health HTTP/1.1", "host: x"))
            heard += await reader.readexactly(len(OK))
        return heard

    heard, seen = through_the_door(talk)
    assert heard == OK * 3
    assert seen.count(b"GET /health") == 3


@pytest.mark.parametrize(
    "first_line",
    [
        "POST /v1/control/start-run HTTP/1.1",
        "POST /v1/runtime/push-task-output HTTP/1.1",
        "GET /docs HTTP/1.1",
        "GET /openapi.json HTTP/1.1",
        "GET /v1/fleet/pull-messages HTTP/1.1",
        "POST /v1/fleet/ HTTP/1.1",
        "POST /v1/fleet/../control/start-run HTTP/1.1",
        "POST /v1/fleet/%2e%2e/control/start-run HTTP/1.1",
        "POST /v1/fleet//../control/start-run HTTP/1.1",
        "POST /v1/fleet/pull-messages?x=1 HTTP/1.1",
        "POST http://127.0.0.1/v1/control/start-run HTTP/1.1",
        "POST //v1/control/start-run HTTP/1.1",
        "CONNECT 127.0.0.1:22 HTTP/1.1",
        "POST /V1/FLEET/pull-messages HTTP/1.1",
    ],
)
def test_nothing_else_reaches_the_superlink(first_line: str) -> None:
    heard, seen = say(head_of(first_line, "host: x", "content-length: 0"))
    assert heard.startswith((b"HTTP/1.1 404", b"HTTP/1.1 400"))
    assert seen == b""


@pytest.mark.parametrize(
    "lines",
    [
        ["transfer-encoding: chunked"],
        ["content-length: 5", "transfer-encoding: chunked"],
        ["content-length: 5", "content-length: 6"],
        ["content-length: +5"],
        ["content-length: 5, 5"],
        ["content-length: 0x5"],
        ["content-length: -1"],
        ["content-length: 99999999999"],
        ["content-length : 5"],
        ["no colon"],
        [" content-length: 5"],
    ],
)
def test_a_body_whose_end_is_doubtful_is_refused(lines: list[str]) -> None:
    smuggled = head_of("POST /v1/control/start-run HTTP/1.1", "content-length: 0")
    heard, seen = say(head_of("POST /v1/fleet/pull-messages HTTP/1.1", *lines) + smuggled)
    assert heard.startswith((b"HTTP/1.1 400", b"HTTP/1.1 411", b"HTTP/1.1 413"))
    assert seen == b""


def test_what_follows_a_body_is_judged_as_a_request_of_its_own() -> None:
    first = head_of("POST /v1/fleet/pull-messages HTTP/1.1", "content-length: 2") + b"ok"
    heard, seen = say(first + head_of("POST /v1/control/start-run HTTP/1.1", "content-length: 0"))
    assert b"HTTP/1.1 404" in heard
    assert b"control" not in seen


def test_endless_headers_are_refused() -> None:
    heard, seen = say(b"POST /v1/fleet/pull-messages HTTP/1.1\r\nx: " + b"a" * (MAX_HEAD_BYTES + 10))
    assert heard.startswith((b"HTTP/1.1 431", b"HTTP/1.1 400"))
    assert seen == b""


@pytest.mark.parametrize("data", [b"\r\n\r\n", b"\x16\x03\x01\x02\x00\r\n\r\n", b"GET\r\n\r\n", b"GET /health\r\n\r\n"])
def test_what_is_no_request_is_refused(data: bytes) -> None:
    with pytest.raises(BadRequest):
        check_passes(parse_head(data))
