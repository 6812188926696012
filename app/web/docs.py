"""The API's own pages: the OpenAPI document and Swagger UI, from this server alone."""

from __future__ import annotations

import functools
from importlib import resources
from pathlib import Path
from typing import Any

from flask import Response
from flask_openapi3.openapi import OpenAPI

from app.web.guard import public
from app.web.pages import serve_file
from app.web.problems import PROBLEM_TYPE

# Swagger UI draws its arrows as data: and sets styles in attributes; scripts come from here, and nothing is evaluated.
DOCS_POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
_PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>API - Constellation</title>
<link rel="icon" href="/static/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/docs/css/swagger-ui.css"></head>
<body><main id="swagger-ui"></main>
<script src="/docs/js/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script></body>
</html>
"""
# The cookie needs the change header, as on the page itself.
_START = """SwaggerUIBundle({
  url: "/openapi/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis],
  requestInterceptor: (request) => {
    request.headers["X-Constellation"] = "1";
    return request;
  },
});
"""


def install(app: OpenAPI) -> None:
    """Add the routes."""
    app.add_url_rule("/docs", "docs", public(_docs), methods=["GET"])
    app.add_url_rule("/docs/start.js", "docs-start", public(_start), methods=["GET"])
    app.add_url_rule("/docs/<any(css,js):kind>/<name>", "docs-file", public(_asset), methods=["GET"])
    _add_document(app)


def _add_document(app: OpenAPI) -> None:
    @functools.cache  # the routes do not change
    def text() -> str:
        return app.json.dumps(_tidied(app.api_doc))

    def document() -> Response:
        return Response(text(), mimetype="application/json")

    app.add_url_rule("/openapi/openapi.json", "openapi-document", document, methods=["GET"])


def _tidied(document: dict[str, Any]) -> dict[str, Any]:
    """Take out the 422 that flask-openapi3 adds, in a form that is not ours, where nothing can be invalid."""
    for item in document["paths"].values():
        for operation in item.values():
            if PROBLEM_TYPE not in operation["responses"].get("422", {}).get("content", {PROBLEM_TYPE: None}):
                del operation["responses"]["422"]
    return document


def _docs() -> Response:
    return _with_policy(Response(_PAGE, mimetype="text/html"))


def _start() -> Response:
    return _with_policy(Response(_START, mimetype="text/javascript"))


def _asset(kind: str, name: str) -> Response:
    return serve_file(swagger_folder() / kind, name)


def _with_policy(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = DOCS_POLICY
    response.headers["Cache-Control"] = "no-cache"
    return response


def swagger_folder() -> Path:
    """Return where the installed package keeps Swagger UI's files."""
    return Path(str(resources.files("flask_openapi3_swagger"))) / "templates" / "swagger"
