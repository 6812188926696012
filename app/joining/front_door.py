"""The door in front of a SuperLink: passes on what SuperNodes may ask, and nothing else.

Flower serves everything on one port, and asks nobody who submits a run: whoever reaches ``/v1/control`` can have any
code run on the server and on every client. The SuperLink therefore listens on loopback, and this process is what a
network sees. It ends TLS, lets ``/v1/fleet/*`` and ``/health`` pass, where nodes prove themselves with their keys,
and refuses all else. It reads one request at a time and passes on no more than that request's bytes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import ssl
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_log = logging.getLogger(__name__)
MAX_HEAD_BYTES = 16 * 1024  # a node's headers are under 2 kB; more is somebody who wants our memory
MAX_BODY_BYTES = 2 * 1024**3  # protobuf's own limit
MAX_CONNECTIONS = 4096  # of all clients together: each costs two sockets
HEAD_TIMEOUT_S = 60.0  # between requests of a kept connection; slow senders of headers are cut off
BODY_TIMEOUT_S = 300.0  # for one piece of a body
_PIECE_BYTES = 256 * 1024
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz-")


class BadRequest(Exception):
    """What came is no request that passes here; ``status`` is the answer."""

    def __init__(self, status: str) -> None:
        super().__init__(status)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The first lines of a request or an answer."""

    first_line: str
    lines: tuple[tuple[str, str], ...]  # names in lower case

    @property
    def length(self) -> int:
        """Bytes of the body.

        Raises:
            BadRequest: There is more than one opinion on that, or too many bytes.
        """
        values = [value for name, value in self.lines if name == "content-length"]
        if any(name == "transfer-encoding" for name, _ in self.lines):
            raise BadRequest("411 Length Required")  # two ways to say where a body ends are one too many
        if not values:
            return 0
        if len(values) > 1 or not (values[0].isascii() and values[0].isdecimal()) or len(values[0]) > 12:
            raise BadRequest("400 Bad Request")
        if int(values[0]) > MAX_BODY_BYTES:
            raise BadRequest("413 Content Too Large")
        return int(values[0])

    @property
    def closes(self) -> bool:
        """Whether the connection ends after this."""
        return any(name == "connection" and "close" in value.lower() for name, value in self.lines)

    def encode(self) -> bytes:
        """Write it as it goes on the wire."""
        lines = [self.first_line, *(f"{name}: {value}" for name, value in self.lines)]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def parse_head(data: bytes) -> Head:
    """Read the first lines of a request or an answer.

    Raises:
        BadRequest: They are not of HTTP's form.
    """
    lines = data.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    headers = []
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not name or any(mark in line for mark in "\r\n\0") or name != name.strip():
            raise BadRequest("400 Bad Request")
        headers.append((name.lower(), value.strip()))
    if not lines[0] or any(mark in lines[0] for mark in "\r\n\0"):
        raise BadRequest("400 Bad Request")
    return Head(first_line=lines[0], lines=tuple(headers))


def check_passes(head: Head) -> None:
    """Let a node's requests pass, and the question whether the server is well.

    Raises:
        BadRequest: Anything else.
    """
    parts = head.first_line.split(" ")
    if len(parts) != 3 or parts[2] not in ("HTTP/1.1", "HTTP/1.0"):
        raise BadRequest("400 Bad Request")
    method, path, _ = parts
    call = path.removeprefix("/v1/fleet/")
    is_fleet = method == "POST" and path.startswith("/v1/fleet/") and bool(call) and set(call) <= _LETTERS
    if not is_fleet and (method, path) != ("GET", "/health"):
        raise BadRequest("404 Not Found")


class FrontDoor:
    """Serves connections, each with one of its own to the SuperLink."""

    def __init__(self, upstream_host: str, upstream_port: int, upstream_tls: ssl.SSLContext | None) -> None:
        self._upstream = (upstream_host, upstream_port)
        self._tls = upstream_tls
        self._num_open = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection to its end."""
        self._num_open += 1
        upstream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        try:
            if self._num_open > MAX_CONNECTIONS:
                raise BadRequest("503 Service Unavailable")
            while (head := await _read_head(reader)) is not None:
                check_passes(head)
                length = head.length
                if upstream is None:
                    upstream = await asyncio.open_connection(*self._upstream, ssl=self._tls)
                if not await _exchange(head, length, (reader, writer), upstream):
                    return
        except BadRequest as refusal:
            with contextlib.suppress(OSError):
                text = f"HTTP/1.1 {refusal.status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                writer.write(text.encode("ascii"))
                await writer.drain()
        except (OSError, EOFError, TimeoutError, ssl.SSLError):  # either side went away
            pass
        finally:
            self._num_open -= 1
            for side in (writer, upstream[1] if upstream else None):
                if side is not None:
                    side.close()
                    with contextlib.suppress(OSError):
                        await side.wait_closed()


async def _read_head(reader: asyncio.StreamReader) -> Head | None:
    """Read the first lines of the next request; None when there is no next one."""
    try:
        data = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), HEAD_TIMEOUT_S)
    except asyncio.IncompleteReadError as error:
        if not error.partial:
            return None
        raise BadRequest("400 Bad Request") from error
    except asyncio.LimitOverrunError as error:
        raise BadRequest("431 Request Header Fields Too Large") from error
    return parse_head(data)


async def _exchange(
    head: Head,
    length: int,
    client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    upstream: tuple[asyncio.StreamReader, asyncio.StreamWriter],
) -> bool:
    """Pass one request on and its answer back; tells whether the connections may be used again."""
    upstream[1].write(head.encode())
    await _copy(client[0], upstream[1], length)
    answer = await _read_head(upstream[0])
    if answer is None:
        return False
    client[1].write(answer.encode())
    await _copy(upstream[0], client[1], answer.length)
    return not head.closes and not answer.closes


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, length: int) -> None:
    """Pass on exactly so many bytes."""
    while length:
        piece = await asyncio.wait_for(reader.read(min(length, _PIECE_BYTES)), BODY_TIMEOUT_S)
        if not piece:
            raise EOFError
        length -= len(piece)
        writer.write(piece)
        await writer.drain()
    await writer.drain()


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return TLS for a server: 1.2 and newer."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    return context


async def run(options: argparse.Namespace) -> None:
    """Serve until SIGTERM."""
    upstream_host, _, upstream_port = options.upstream.rpartition(":")
    door = FrontDoor(upstream_host, int(upstream_port), ssl.create_default_context(cafile=options.authority))
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    server = await asyncio.start_server(
        door.serve,
        options.host,
        options.port,
        ssl=server_context(options.certificate, options.key),
        limit=MAX_HEAD_BYTES,
    )
    async with server:
        _log.info("listening on %s:%d", options.host, options.port)
        await stop.wait()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the door."""
    parser = argparse.ArgumentParser(prog="python -m app.joining.front_door")
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--certificate", type=Path, required=True)
    parser.add_argument("--key", type=Path, required=True)
    parser.add_argument("--authority", required=True, help="of the SuperLink's own certificate")
    parser.add_argument("--upstream", required=True, help="HOST:PORT of the SuperLink on loopback")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    asyncio.run(run(parser.parse_args(arguments)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
