"""Reads requests: JSON that is JSON, sizes bounded before anything is allocated, gzip that cannot explode."""

from __future__ import annotations

import io
import json
import zlib
from typing import Any

from flask import Flask, Request
from flask.json.provider import DefaultJSONProvider
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge, UnsupportedMediaType

from app.web.auth.access import CHANGE_HEADER, Asked, is_forwarded

MAX_BODY_BYTES = 256 * 1024  # settings are some kB; a reader of JSON needs ten times its size
MAX_INGEST_BYTES = 8 * 1024 * 1024  # one batch of events, decompressed


class ForeignJson:
    """JSON that carries the words of clients: half a surrogate pair in one must not keep all others' out.

    The store cleans what it keeps.
    """

    @staticmethod
    def loads(text: str | bytes, **_: Any) -> Any:
        """Parse, or raise ``ValueError``."""
        return loads(text, takes_surrogates=True)


class StrictJson(DefaultJSONProvider):
    """JSON as the standard has it: no NaN, and nesting that would exhaust the stack is malformed, not a crash."""

    def loads(self, s: str | bytes, **_: Any) -> Any:
        """Parse, or raise ``ValueError``."""
        return loads(s)


def loads(text: str | bytes, *, takes_surrogates: bool = False) -> Any:
    """Parse JSON from outside.

    Raises:
        ValueError: It is malformed, nested too deeply, or holds NaN, infinity or a lone surrogate.
    """
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not takes_surrogates and (b"\\u" if isinstance(text, bytes) else "\\u") in text:  # type: ignore[operator]
        _refuse_surrogates(value)
    return value


class JsonRequest(Request):
    """A request whose body must be JSON where JSON is expected: 415 and 400 say so, instead of a missing body."""

    def get_json(self, force: bool = False, silent: bool = False, cache: bool = True) -> Any:  # noqa: ARG002
        """Return the body; flask-openapi3 asks silently and would take a malformed one for none."""
        if self.is_json and not self.get_data(cache=True):
            raise BadRequest("a JSON body is expected, and there is none")
        return super().get_json(force=force, silent=False, cache=cache)

    def on_json_loading_failed(self, e: ValueError | None) -> Any:
        """Say what is wrong, without repeating what was sent."""
        if e is None:
            raise UnsupportedMediaType("send JSON, with Content-Type: application/json")
        raise BadRequest(f"the body is not JSON: {e}")


def asked_of(request: Request, cookie_name: str) -> Asked:
    """Return what the access rules look at."""
    headers = request.headers
    return Asked(
        method=request.method,
        address=request.remote_addr or "",
        host=headers.get("Host", ""),
        origin=headers.get("Origin"),
        authorization=headers.get("Authorization"),
        session=request.cookies.get(cookie_name),
        has_change_header=headers.get(CHANGE_HEADER) == "1",
        fetch_site=headers.get("Sec-Fetch-Site"),
        is_forwarded=is_forwarded(dict(headers)) and "werkzeug.proxy_fix.orig" not in request.environ,
    )


def bound_body(request: Request, max_bytes: int) -> None:
    """Refuse a body that is too large by what it says, and stop one that lies while it is read.

    Raises:
        RequestEntityTooLarge: It says that it is larger.
    """
    request.max_content_length = max_bytes
    if request.content_length is not None and request.content_length > max_bytes:
        raise RequestEntityTooLarge(f"the body may have {max_bytes:,} bytes")


def inflate_body(request: Request, max_bytes: int) -> None:
    """Replace a gzip body by what it holds.

    Raises:
        BadRequest: It is no gzip, or is cut short.
        RequestEntityTooLarge: It holds more than ``max_bytes``; nothing beyond is inflated.
        UnsupportedMediaType: Another encoding.
    """
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding in ("identity", ""):
        return
    if encoding != "gzip":
        raise UnsupportedMediaType("bodies may be compressed with gzip only")
    content = gunzip(request.stream.read(), max_bytes)
    request.environ["wsgi.input"] = io.BytesIO(content)
    request.environ["CONTENT_LENGTH"] = str(len(content))
    request.__dict__.pop("stream", None)  # werkzeug keeps what it opened: the next reader gets the new one


def gunzip(compressed: bytes, max_bytes: int) -> bytes:
    """Inflate one gzip member, up to ``max_bytes``."""
    inflater = zlib.decompressobj(wbits=31)
    try:
        content = inflater.decompress(compressed, max_bytes + 1)
    except zlib.error as error:
        raise BadRequest("the body is no gzip, though its Content-Encoding says so") from error
    if len(content) > max_bytes:
        raise RequestEntityTooLarge(f"the body may hold {max_bytes:,} bytes when it is inflated")
    if not inflater.eof or inflater.unused_data:
        raise BadRequest("the gzip body is cut short, or something follows it")
    return content


def install(app: Flask) -> None:
    """Let the app read requests this way."""
    app.request_class = JsonRequest
    app.json = StrictJson(app)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.config["MAX_FORM_MEMORY_SIZE"] = MAX_BODY_BYTES
    app.config["MAX_FORM_PARTS"] = 16


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _refuse_surrogates(value: Any) -> None:
    """No database and no UTF-8 can hold half a surrogate pair."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            try:
                item.encode("utf-8")
            except UnicodeEncodeError as error:
                raise ValueError("a text holds half a surrogate pair") from error
        elif isinstance(item, dict):
            pending.extend(item)
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)
