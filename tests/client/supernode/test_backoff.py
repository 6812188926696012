"""Pauses grow, keep to their limits, and differ from node to node."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from client.supernode.backoff import Backoff, Poll


@given(st.integers(0, 2**32), st.integers(1, 40))
def test_a_pause_is_drawn_from_the_upper_half_of_what_doubles(seed: int, attempts: int) -> None:
    backoff = Backoff(first_s=0.5, longest_s=8.0, rng=random.Random(seed))
    for attempt in range(attempts):
        top = min(8.0, 0.5 * 2**attempt)
        assert top / 2 <= backoff.pause() <= top


def test_two_nodes_do_not_come_back_together() -> None:
    first, second = (Backoff(rng=random.Random(seed)) for seed in (1, 2))
    assert [first.pause() for _ in range(5)] != [second.pause() for _ in range(5)]


def test_success_begins_again() -> None:
    backoff = Backoff(first_s=1.0, rng=random.Random(0))
    for _ in range(5):
        backoff.pause()
    backoff.worked()
    assert backoff.pause() <= 1.0


def test_looks_become_rarer_up_to_a_limit_and_frequent_again_when_something_came() -> None:
    poll = Poll(first_s=0.1, longest_s=0.3, growth=2.0)
    assert [poll.pause() for _ in range(4)] == [0.1, 0.2, 0.3, 0.3]
    poll.found()
    assert poll.pause() == 0.1
