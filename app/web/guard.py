"""Lets requests in: identity, rights and sizes are settled before a view, or a body, is looked at."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from flask import Flask, Response, current_app, g, request

from app.web.auth.access import SAFE_METHODS, Asked, Refusal, Who
from app.web.context import services
from app.web.problems import problem, refused
from app.web.requests import MAX_BODY_BYTES, ForeignJson, asked_of, bound_body, inflate_body

F = TypeVar("F", bound=Callable[..., object])

_PUBLIC, _BY_TOKEN, _MAX_BODY = "_is_public", "_needs_token", "_max_body_bytes"
_MAX_PUBLIC_BODY_BYTES = 4096


def public(view: F) -> F:
    """Mark a view that strangers may call: what one needs to sign in, and whether the server lives."""
    setattr(view, _PUBLIC, True)
    return view


def by_token(view: F) -> F:
    """Mark a view that takes the token alone: programs call it, never a page."""
    setattr(view, _BY_TOKEN, True)
    return view


def takes_reports(max_bytes: int) -> Callable[[F], F]:
    """Mark a view that takes larger bodies, which carry the words of clients."""

    def mark(view: F) -> F:
        setattr(view, _MAX_BODY, max_bytes)
        return view

    return mark


def install(app: Flask) -> None:
    """Put the guard before every view."""
    app.before_request(_let_in)


def _let_in() -> Response | None:
    view = _view()
    access = services().access
    asked = asked_of(request, access.cookie_name)
    who = access.who(asked)
    if isinstance(who, Refusal):
        return refused(who)
    g.who, g.asked = who, asked
    refusal = _refusal(view, who, asked)
    if refusal is not None:
        return refused(refusal)
    return _bound(view, who)


def _view() -> object | None:
    if request.endpoint is None:
        return None
    return current_app.view_functions.get(request.endpoint)


def _refusal(view: object, who: Who, asked: Asked) -> Refusal | None:
    access = services().access
    if view is None and who is not Who.STRANGER:
        return None  # 404 or 405 say more
    if getattr(view, _PUBLIC, False):
        # A page of another site may not sign a visitor in or out either.
        return None if asked.method in SAFE_METHODS or asked.origin is None else access.forgery(asked)
    if getattr(view, _BY_TOKEN, False) and who is not Who.TOKEN:
        return Refusal(status=401, detail="send the token of OUTPUT/.constellation/token as `Authorization: Bearer`")
    return access.refusal(who, asked)


def _bound(view: object, who: Who) -> Response | None:
    max_bytes = getattr(view, _MAX_BODY, MAX_BODY_BYTES)
    if not who.is_operator:
        # A body of unknown length keeps a thread waiting for whoever sends it slowly.
        if "chunked" in request.headers.get("Transfer-Encoding", "").lower():
            return problem(411, "say how long the body is, with Content-Length")
        max_bytes = min(max_bytes, _MAX_PUBLIC_BODY_BYTES)
    elif hasattr(view, _MAX_BODY):
        request.json_module = ForeignJson
    bound_body(request, max_bytes)
    if request.method not in SAFE_METHODS:
        inflate_body(request, max_bytes)
    return None
