"""Who may do what: every row of the table, with mallory's variants."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from app.web.auth.access import Access, Asked, Refusal, Who
from app.web.auth.hosts import AllowedHosts

TOKEN = "t" * 43
HERE = Asked(
    method="GET", address="127.0.0.1", host="127.0.0.1:5000", origin=None, authorization=None, session=None,
    has_change_header=False, fetch_site=None, is_forwarded=False,
)  # fmt: skip


@pytest.fixture
def access(tmp_path: Path) -> Access:
    return Access(token=TOKEN, folder=tmp_path, now=lambda: 0.0, allowed_hosts=AllowedHosts([]))


def verdict(access: Access, asked: Asked) -> int | None:
    """Return the status of the refusal, None when the request is let in."""
    who = access.who(asked)
    refusal = who if isinstance(who, Refusal) else access.refusal(who, asked)
    return refusal.status if refusal is not None else None


def test_loopback_reads_and_changes_nothing(access: Access) -> None:
    assert verdict(access, HERE) is None
    assert verdict(access, replace(HERE, method="HEAD")) is None
    for method in ("POST", "PUT", "PATCH", "DELETE", "TRACE", "SURPRISE"):
        assert verdict(access, replace(HERE, method=method)) == 401


def test_elsewhere_nothing_is_seen_without_a_sign_in(access: Access) -> None:
    away = replace(HERE, address="192.0.2.9", host="192.0.2.1:5000")
    assert verdict(access, away) == 401
    assert verdict(access, replace(away, authorization=f"Bearer {TOKEN}")) is None
    assert verdict(access, replace(away, authorization=f"bearer {TOKEN}", method="POST")) is None


def test_a_proxy_on_this_machine_makes_nobody_local(access: Access) -> None:
    assert verdict(access, replace(HERE, is_forwarded=True)) == 401


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ",
        f"Basic {TOKEN}",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        f"Token {TOKEN}",
        "Bearer \ud800",
    ],
)
def test_a_wrong_token_is_refused_even_from_loopback(access: Access, authorization: str) -> None:
    assert verdict(access, replace(HERE, authorization=authorization)) == 401


def test_a_cookie_changes_things_only_from_our_own_page(access: Access) -> None:
    session = access.sign_in(access.codes.issue(), "127.0.0.1")
    assert isinstance(session, str)
    page = replace(HERE, session=session, method="POST", has_change_header=True, origin="http://127.0.0.1:5000")
    assert access.who(page) is Who.COOKIE
    assert verdict(access, page) is None
    assert verdict(access, replace(page, fetch_site="same-origin")) is None
    assert verdict(access, replace(page, has_change_header=False)) == 403
    assert verdict(access, replace(page, origin="http://evil.example")) == 403
    assert verdict(access, replace(page, origin="http://127.0.0.1:6000")) == 403
    assert verdict(access, replace(page, origin="null")) == 403
    assert verdict(access, replace(page, origin=None, fetch_site="cross-site")) == 403
    assert verdict(access, replace(page, origin=None, fetch_site="same-site")) == 403
    assert verdict(access, replace(page, session=session[:-1])) == 401
    access.sessions.revoke(session)
    assert verdict(access, page) == 401


def test_guessing_codes_is_slowed_down_and_a_good_one_waits_too(access: Access) -> None:
    good = access.codes.issue()
    statuses = []
    for _ in range(1000):
        refusal = access.sign_in("guess", "192.0.2.9")
        assert isinstance(refusal, Refusal)
        statuses.append(refusal.status)
    assert statuses[:6] == [401] * 5 + [429]
    assert set(statuses[5:]) == {429}
    late = access.sign_in(good, "192.0.2.9")
    assert isinstance(late, Refusal)
    assert late.retry_after_s == 1
    assert isinstance(access.sign_in(good, "192.0.2.10"), str)


def test_guessing_tokens_is_slowed_down_but_not_for_the_programs_of_this_machine(access: Access) -> None:
    away = replace(HERE, address="192.0.2.9", authorization="Bearer guess")
    assert [verdict(access, away) for _ in range(7)] == [401] * 5 + [429] * 2
    local = replace(HERE, authorization="Bearer guess")
    assert [verdict(access, local) for _ in range(9)] == [401] * 9
    assert verdict(access, replace(local, authorization=f"Bearer {TOKEN}")) is None


def test_two_dashboards_of_a_machine_have_cookies_of_their_own(tmp_path: Path, access: Access) -> None:
    other = Access(token="u" * 43, folder=tmp_path, now=lambda: 0.0, allowed_hosts=AllowedHosts([]))
    assert other.cookie_name != access.cookie_name


def test_a_session_ends_with_the_token_it_was_had_by(tmp_path: Path) -> None:
    hosts = AllowedHosts([])
    before = Access(token=TOKEN, folder=tmp_path, now=lambda: 0.0, allowed_hosts=hosts)
    session = before.sign_in(before.codes.issue(), "127.0.0.1")
    asked = replace(HERE, session=str(session))
    again = Access(token=TOKEN, folder=tmp_path, now=lambda: 0.0, allowed_hosts=hosts)
    assert again.who(asked) is Who.COOKIE
    anew = Access(token="u" * 43, folder=tmp_path, now=lambda: 0.0, allowed_hosts=hosts)
    assert anew.who(asked) is Who.LOOPBACK


def test_wrong_codes_on_this_machine_lock_nobody_out(access: Access) -> None:
    for _ in range(50):
        assert isinstance(access.sign_in("guess", "127.0.0.1"), Refusal)
    assert isinstance(access.sign_in(access.codes.issue(), "127.0.0.1"), str)
    for _ in range(50):
        access.sign_in("guess", "127.0.0.1", is_forwarded=True)
    refusal = access.sign_in(access.codes.issue(), "127.0.0.1", is_forwarded=True)
    assert isinstance(refusal, Refusal)
    assert refusal.status == 429
