"""Decides what a request may do, from what it carries. Pure but for the clock and the sessions file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from app.web.auth.backoff import Backoff
from app.web.auth.hosts import AllowedHosts, is_loopback_address
from app.web.auth.login_codes import LoginCodes
from app.web.auth.secret import digest, is_same
from app.web.auth.sessions import Sessions

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
CHANGE_HEADER = "X-Constellation"
SIGN_IN_HINT = (
    "open the one-use login link that the dashboard printed when it started, or send the token of "
    "OUTPUT/.constellation/token as `Authorization: Bearer`"
)


class Who(Enum):
    """Whom a request comes from."""

    TOKEN = "token"  # noqa: S105 - the operator, by Bearer token: a program
    COOKIE = "cookie"  # the operator, signed in: a browser
    LOOPBACK = "loopback"  # somebody on this machine: may read
    STRANGER = "stranger"

    @property
    def is_operator(self) -> bool:
        """Whether changes are allowed."""
        return self in (Who.TOKEN, Who.COOKIE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What matters of a request."""

    method: str
    address: str  # of the peer
    host: str
    origin: str | None
    authorization: str | None
    session: str | None  # the cookie
    has_change_header: bool
    fetch_site: str | None  # Sec-Fetch-Site: what the browser itself says of where the request comes from
    is_forwarded: bool  # names another client: the peer is a proxy, and loopback says nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a request goes no further."""

    status: int
    detail: str
    retry_after_s: int | None = None


class Access:
    """Knows the secrets of one dashboard."""

    def __init__(
        self, *, token: str, folder: Path, now: Callable[[], float], allowed_hosts: AllowedHosts, read_open: bool = True
    ) -> None:
        """``read_open`` lets loopback read without a sign-in.

        Raises:
            KeyStoreError: The sessions file is open to others.
        """
        self._token = digest(token)
        self.sessions = Sessions(folder, now, key=self._token)
        self.codes = LoginCodes(now)
        self.backoff = Backoff(now)
        self.hosts = allowed_hosts
        self._read_open = read_open
        # Cookies are shared by all ports of a host: two dashboards of one machine must not overwrite each other's.
        self.cookie_name = f"constellation-{hashlib.sha256(self._token).hexdigest()[:8]}"

    def who(self, asked: Asked) -> Who | Refusal:
        """Tell whom a request comes from; a wrong secret is refused, whatever else it carries."""
        if asked.authorization is not None:
            return self._by_header(asked)
        if asked.session and self.sessions.is_valid(asked.session):
            return Who.COOKIE
        is_local = is_loopback_address(asked.address) and not asked.is_forwarded
        return Who.LOOPBACK if is_local and self._read_open else Who.STRANGER

    def refusal(self, who: Who, asked: Asked) -> Refusal | None:
        """Return why this caller may not do this, None when it may."""
        if who is Who.STRANGER:
            return Refusal(status=401, detail=f"sign in to see this: {SIGN_IN_HINT}")
        if asked.method in SAFE_METHODS:
            return None
        if who is Who.LOOPBACK:
            return Refusal(status=401, detail=f"sign in to change anything: {SIGN_IN_HINT}")
        if who is Who.COOKIE:
            return self.forgery(asked)
        return None

    def forgery(self, asked: Asked) -> Refusal | None:
        """Return why a browser's request may not be what its user meant, None when it is from our own page."""
        if asked.origin is not None and not self.hosts.is_own_origin(asked.origin, asked.host):
            return Refusal(status=403, detail="this request comes from the page of another site")
        if asked.fetch_site not in (None, "same-origin", "none"):
            return Refusal(status=403, detail="this request comes from the page of another site")
        if not asked.has_change_header:  # no foreign form can set it, and a foreign script needs our consent first
            return Refusal(status=403, detail=f"changes from a browser need the header {CHANGE_HEADER}: 1")
        return None

    def _by_header(self, asked: Asked) -> Who | Refusal:
        scheme, _, offered = (asked.authorization or "").partition(" ")
        return self.by_token(offered.strip() if scheme.lower() == "bearer" else "", asked)

    def by_token(self, offered: str, asked: Asked) -> Who | Refusal:
        """Tell whether a token is ours, wherever it stood."""
        is_slowed = _is_slowed(asked.address, asked.is_forwarded)
        wait = self.backoff.wait_s(asked.address) if is_slowed else 0.0
        if wait > 0:
            return too_many(wait)
        if is_same(self._token, offered):
            return Who.TOKEN
        if is_slowed:
            self.backoff.fail(asked.address)
        return Refusal(status=401, detail="the token is not the one of this dashboard (OUTPUT/.constellation/token)")

    def sign_in(self, code: str, address: str, *, is_forwarded: bool = False) -> str | Refusal:
        """Turn a one-use code into a session."""
        is_slowed = _is_slowed(address, is_forwarded)
        wait = self.backoff.wait_s(address) if is_slowed else 0.0
        if wait > 0:
            return too_many(wait)
        if not self.codes.redeem(code):
            if is_slowed:
                self.backoff.fail(address)
            return Refusal(status=401, detail=f"this login code is wrong, used or too old: {SIGN_IN_HINT}")
        self.backoff.succeed(address)
        return self.sessions.create()


def _is_slowed(address: str, is_forwarded: bool) -> bool:
    """Tell whether guesses make somebody wait; not on loopback, where one user could lock out all others."""
    return not is_loopback_address(address) or is_forwarded


def too_many(wait_s: float) -> Refusal:
    """Return the answer to whoever has to wait."""
    seconds = max(1, round(wait_s))
    return Refusal(status=429, detail=f"too many wrong attempts; try again in {seconds} s", retry_after_s=seconds)


def is_forwarded(headers: Mapping[str, str]) -> bool:
    """Tell whether a proxy passed this on, by headers that only proxies set."""
    return any(name in headers for name in ("X-Forwarded-For", "Forwarded", "X-Real-Ip", "Via"))
