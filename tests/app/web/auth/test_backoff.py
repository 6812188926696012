from __future__ import annotations

from app.web.auth.backoff import FORGET_AFTER_S, FREE_FAILURES, LONGEST_WAIT_S, Backoff


def test_each_failure_beyond_the_free_ones_doubles_the_wait() -> None:
    backoff = Backoff(lambda: 0.0)
    waits = []
    for _ in range(FREE_FAILURES + 7):
        backoff.fail("192.0.2.1")
        waits.append(backoff.wait_s("192.0.2.1"))
    assert waits == [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, LONGEST_WAIT_S, LONGEST_WAIT_S]


def test_waiting_shortens_the_wait_and_time_forgives() -> None:
    now = [0.0]
    backoff = Backoff(lambda: now[0])
    for _ in range(FREE_FAILURES + 3):
        backoff.fail("192.0.2.1")
    now[0] = 5.0
    assert backoff.wait_s("192.0.2.1") == 3.0
    now[0] = FORGET_AFTER_S + 1
    backoff.fail("192.0.2.1")
    assert backoff.wait_s("192.0.2.1") == 0.0


def test_others_do_not_wait_and_success_forgets() -> None:
    backoff = Backoff(lambda: 0.0)
    for _ in range(9):
        backoff.fail("192.0.2.1")
    assert backoff.wait_s("192.0.2.2") == 0.0
    backoff.succeed("192.0.2.1")
    assert backoff.wait_s("192.0.2.1") == 0.0


def test_addresses_of_one_ipv6_network_are_one_guesser() -> None:
    backoff = Backoff(lambda: 0.0)
    for number in range(9):
        backoff.fail(f"2001:db8::{number}")
    assert backoff.wait_s("2001:db8::ffff") > 0
    assert backoff.wait_s("2001:db8:0:1::1") == 0.0


def test_memory_is_bounded_whoever_guesses() -> None:
    backoff = Backoff(lambda: 0.0, max_addresses=10)
    for number in range(200):
        for _ in range(6):
            backoff.fail(f"192.0.2.{number}")
    assert backoff.wait_s("192.0.2.0") == 0.0
    assert backoff.wait_s("192.0.2.199") > 0
