from __future__ import annotations

from app.web.auth.login_codes import LIFETIME_S, MAX_PENDING, LoginCodes


def test_a_code_works_once() -> None:
    codes = LoginCodes(lambda: 0.0)
    code = codes.issue()
    assert [codes.redeem(code), codes.redeem(code)] == [True, False]


def test_a_code_is_void_after_ten_minutes() -> None:
    now = [0.0]
    codes = LoginCodes(lambda: now[0])
    early, late = codes.issue(), codes.issue()
    now[0] = LIFETIME_S - 1
    assert codes.redeem(early)
    now[0] = LIFETIME_S
    assert not codes.redeem(late)


def test_a_flood_of_codes_keeps_the_newest_and_no_more_memory() -> None:
    codes = LoginCodes(lambda: 0.0)
    first = codes.issue()
    rest = [codes.issue() for _ in range(MAX_PENDING)]
    assert not codes.redeem(first)
    assert all(codes.redeem(code) for code in rest)


def test_what_is_no_code_is_refused() -> None:
    codes = LoginCodes(lambda: 0.0)
    code = codes.issue()
    assert not any(codes.redeem(guess) for guess in ("", code[:-1], code + "x", code.swapcase(), "\ud800"))
    assert codes.redeem(code)
