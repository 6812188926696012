"""Signing in and out: a one-use code becomes a cookie that scripts cannot read."""

from __future__ import annotations

from typing import Annotated

from flask import Response, g, request
from flask_openapi3.blueprint import APIBlueprint
from pydantic import Field

from app.web.api.fields import Body
from app.web.api.tags import SESSION
from app.web.auth.access import Refusal
from app.web.auth.sessions import LIFETIME_S
from app.web.context import services
from app.web.guard import public
from app.web.problems import documented, refused

api = APIBlueprint("session", __name__, url_prefix="/api/v1/session", abp_tags=[SESSION])


class SignIn(Body):
    """A code from a login link."""

    code: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_-]+$")]


@api.post("", responses={204: None, **documented(400, 401, 403, 413, 415, 422, 429)})
@public
def sign_in(body: SignIn) -> Response:
    """Sign in with the one-use code of a login link."""
    access = services().access
    session = access.sign_in(body.code, g.asked.address, is_forwarded=g.asked.is_forwarded)
    if isinstance(session, Refusal):
        return refused(session)
    response = Response(status=204)
    response.set_cookie(
        access.cookie_name, session, max_age=int(LIFETIME_S), path="/", httponly=True, samesite="Strict",
        secure=request.is_secure,
    )  # fmt: skip
    return response


@api.delete("", responses={204: None, **documented(401, 403)})
@public
def sign_out() -> Response:
    """Sign out: the session is void at once, wherever its cookie is."""
    access = services().access
    session = request.cookies.get(access.cookie_name)
    if session:
        access.sessions.revoke(session)
    response = Response(status=204)
    response.delete_cookie(access.cookie_name, path="/", httponly=True, samesite="Strict", secure=request.is_secure)
    return response
