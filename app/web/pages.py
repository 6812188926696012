"""The one page, and the files it is made of."""

from __future__ import annotations

import contextlib
import functools
import gzip
import mimetypes
from pathlib import Path

from flask import Flask, Response, request, send_from_directory
from werkzeug.exceptions import NotFound

from app.web.answers import accepts_gzip
from app.web.guard import public
from app.web.problems import problem

PAGES = ("/", "/runs", "/runs/new", "/runs/<run_id>", "/compare", "/events", "/models", "/login")
_HERE = Path(__file__).parent
STATIC, TEMPLATES = _HERE / "static", _HERE / "templates"
_REVALIDATE = "no-cache"  # names carry no version: the browser asks, and 304 costs nothing
_TYPES = {
    ".js": "text/javascript", ".mjs": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml",
    ".woff2": "font/woff2", ".json": "application/json", ".html": "text/html", ".png": "image/png",
    ".ico": "image/x-icon", ".txt": "text/plain", ".map": "application/json",
}  # fmt: skip
_TEXT = frozenset({".js", ".mjs", ".css", ".svg", ".json", ".html", ".txt", ".map"})
_MIN_GZIP_BYTES, _MAX_GZIP_BYTES = 1024, 8 << 20


def install(app: Flask) -> None:
    """Add the routes of pages and of their files."""
    for number, path in enumerate(PAGES):
        app.add_url_rule(path, f"page-{number}", public(_shell), methods=["GET"])
    app.add_url_rule("/static/<path:name>", "static-file", public(_static), methods=["GET"])
    app.add_url_rule("/favicon.ico", "favicon", public(_favicon), methods=["GET"])
    app.register_error_handler(404, _not_found)


def _shell(run_id: str = "") -> Response:  # noqa: ARG001 - the page reads its address itself
    return _file(TEMPLATES, "index.html")


def _static(name: str) -> Response:
    return _file(STATIC, name)


def _favicon() -> Response:
    return _file(STATIC, "icon.svg")


def _not_found(error: NotFound) -> Response:
    """Show a person the page, which says so; tell programs the plain truth."""
    is_page = request.method == "GET" and not request.path.startswith(("/api/", "/internal/", "/static/", "/docs/"))
    if is_page and request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html":
        with contextlib.suppress(NotFound):  # an installation without its pages
            shell = _file(TEMPLATES, "index.html")
            shell.status_code = 404
            return shell
    return problem(404, error.description if isinstance(error.description, str) else "there is nothing here")


def serve_file(folder: Path, name: str) -> Response:
    """Send one file of a folder, compressed where that saves something; never one outside of it."""
    return _file(folder, name)


def _file(folder: Path, name: str) -> Response:
    response = send_from_directory(folder, name, mimetype=_type_of(name), conditional=False, etag=True, max_age=None)
    response.headers["Cache-Control"] = _REVALIDATE
    path = folder / name
    if path.suffix in _TEXT:
        response.vary.add("Accept-Encoding")
        if accepts_gzip(request) and _MIN_GZIP_BYTES <= path.stat().st_size <= _MAX_GZIP_BYTES:
            status = path.stat()
            packed = _packed(path, status.st_mtime_ns, status.st_size)
            etag, _ = response.get_etag()
            response.close()
            response = Response(packed, mimetype=_type_of(name))
            response.headers["Content-Encoding"] = "gzip"
            response.headers["Cache-Control"] = _REVALIDATE
            response.vary.add("Accept-Encoding")
            response.set_etag(f"{etag}-gzip")
    response.make_conditional(request)
    return response


@functools.lru_cache(maxsize=256)
def _packed(path: Path, _modified_ns: int, _size: int) -> bytes:
    """Compress a file once for as long as it does not change."""
    return gzip.compress(path.read_bytes(), 9, mtime=0)


def _type_of(name: str) -> str:
    suffix = Path(name).suffix.lower()
    return _TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
