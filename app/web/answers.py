"""Writes answers: views as JSON, compressed where that saves something."""

from __future__ import annotations

import gzip

from flask import Request, Response
from pydantic import BaseModel

MIN_GZIP_BYTES = 1024  # below, headers outweigh what is saved
_GZIP_LEVEL = 5
_COMPRESSIBLE = ("application/json", "application/problem+json", "text/", "image/svg+xml", "application/javascript")


def answer(view: BaseModel, status: int = 200) -> Response:
    """Return a view as JSON; a number that JSON cannot hold is null."""
    return Response(view.model_dump_json(), status=status, mimetype="application/json")


def accepts_gzip(request: Request) -> bool:
    """Tell whether the caller takes gzip."""
    return request.accept_encodings["gzip"] > 0


def compress(request: Request, response: Response) -> Response:
    """Gzip what is text, large enough, and not streamed."""
    if not _is_worth_it(response):
        return response
    response.vary.add("Accept-Encoding")
    if not accepts_gzip(request) or request.method == "HEAD":
        return response
    response.set_data(gzip.compress(response.get_data(), _GZIP_LEVEL, mtime=0))
    response.headers["Content-Encoding"] = "gzip"
    etag, is_weak = response.get_etag()
    if etag is not None and not is_weak:
        response.set_etag(f"{etag}-gzip")  # another representation: RFC 9110, sec. 8.8.3.3
    return response


def _is_worth_it(response: Response) -> bool:
    return (
        response.status_code not in (204, 206, 304)
        and not response.is_streamed
        and not response.direct_passthrough
        and "Content-Encoding" not in response.headers
        and (response.mimetype or "").startswith(_COMPRESSIBLE)
        and (response.calculate_content_length() or 0) >= MIN_GZIP_BYTES
    )
