"""One form for everything that goes wrong: problem+json (RFC 9457), with the fields at fault named."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from flask import Flask, Response
from pydantic import BaseModel, ValidationError
from werkzeug.exceptions import HTTPException

from app.control.config_check import key_of_error
from app.web.auth.access import Refusal
from shared import errors

_log = logging.getLogger(__name__)

PROBLEM_TYPE = "application/problem+json"


class FieldError(BaseModel):
    """One field at fault."""

    field: str
    message: str


class Problem(BaseModel):
    """What went wrong, in one form for all: RFC 9457."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[FieldError] = []
    last_seq: int | None = None  # where events are missing: go on after this one


def problem(status: int, detail: str, *, errors: Iterable[FieldError] = (), last_seq: int | None = None) -> Response:
    """Make the answer."""
    body = Problem(
        title=HTTPStatus(status).phrase, status=status, detail=detail, errors=list(errors), last_seq=last_seq
    )
    text = body.model_dump_json(exclude_none=True)
    return Response(text, status=status, mimetype=PROBLEM_TYPE)


def refused(refusal: Refusal) -> Response:
    """Turn a refusal of the access rules into an answer."""
    answer = problem(refusal.status, refusal.detail)
    if refusal.status == HTTPStatus.UNAUTHORIZED:
        answer.headers["WWW-Authenticate"] = 'Bearer realm="constellation"'
    if refusal.retry_after_s is not None:
        answer.headers["Retry-After"] = str(refusal.retry_after_s)
    return answer


def invalid(error: ValidationError) -> Response:
    """Name the fields that pydantic refused, without repeating what was sent."""
    found = [
        FieldError(field=".".join(str(part) for part in item["loc"]) or "body", message=item["msg"])
        for item in error.errors(include_url=False, include_input=False, include_context=False)[:50]
    ]
    first = found[0]
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"{first.field}: {first.message}", errors=found)


def of_error(error: errors.ConstellationError) -> Response:
    """Turn one of our own errors into an answer."""
    detail = str(error)
    match error:
        case errors.NotFound():
            return problem(HTTPStatus.NOT_FOUND, detail)
        case errors.SeqGap():
            return problem(HTTPStatus.CONFLICT, detail, last_seq=error.last_seq)
        case errors.BadEvent() | errors.BadQuery():
            return problem(
                HTTPStatus.UNPROCESSABLE_ENTITY, detail, errors=[FieldError(field=error.field, message=detail)]
            )
        case errors.Conflict():
            return problem(HTTPStatus.CONFLICT, detail)
        case errors.UsageError():
            field = key_of_error(error) or "config"
            return problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, errors=[FieldError(field=field, message=detail)])
        case _:
            _log.error("%s", detail)
            return problem(HTTPStatus.SERVICE_UNAVAILABLE, detail)


def install(app: Flask) -> None:
    """Answer every error of the app as a problem."""
    app.register_error_handler(HTTPException, _of_http)
    app.register_error_handler(errors.ConstellationError, of_error)
    app.register_error_handler(Exception, _of_bug)


def _of_http(error: HTTPException) -> Response:
    if isinstance(error.response, Response):  # flask-openapi3 aborts with the answer that `invalid` made
        return error.response
    status = error.code or HTTPStatus.INTERNAL_SERVER_ERROR
    answer = problem(status, error.description or HTTPStatus(status).phrase)
    for name, value in error.get_headers():
        if name.lower() in ("allow", "location", "retry-after"):
            answer.headers[name] = value
    return answer


def _of_bug(error: Exception) -> Response:
    _log.error("a request failed", exc_info=error)
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "this is an error of the dashboard; its log says more")


def documented(*statuses: int) -> dict[str | int, Any]:
    """Return OpenAPI's entries of the problems an operation may answer with."""
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {PROBLEM_TYPE: {"schema": schema}},
        }
        for status in statuses
    }
