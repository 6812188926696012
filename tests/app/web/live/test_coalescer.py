from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from app.web.live.coalescer import Coalescer


def test_the_first_news_of_a_quiet_room_goes_out_at_once() -> None:
    coalescer = Coalescer(0.25)
    assert coalescer.wait_s(0.0) is None
    coalescer.touch("a")
    assert coalescer.wait_s(0.0) == 0.0
    assert coalescer.due(0.0) == ["a"]
    assert coalescer.due(0.0) == []


def test_news_within_the_interval_go_out_together_at_its_end() -> None:
    coalescer = Coalescer(0.25)
    coalescer.touch("a")
    coalescer.due(10.0)
    coalescer.touch("a")
    coalescer.touch("a")
    assert coalescer.due(10.1) == []
    assert coalescer.wait_s(10.125) == 0.125
    assert coalescer.due(10.25) == ["a"]
    assert coalescer.wait_s(10.25) is None


def test_rooms_do_not_hold_each_other_up() -> None:
    coalescer = Coalescer(0.25)
    coalescer.touch("a")
    coalescer.due(0.0)
    coalescer.touch("a")
    coalescer.touch("b")
    assert coalescer.due(0.125) == ["b"]
    assert coalescer.due(0.25) == ["a"]


@given(st.lists(st.tuples(st.integers(0, 400), st.sampled_from("ab"), st.booleans()), max_size=200))
def test_a_room_hears_at_most_four_times_a_second_and_no_news_is_kept_back(
    steps: list[tuple[int, str, bool]],
) -> None:
    coalescer = Coalescer(0.25)
    now, told, owed = 0.0, {"a": [], "b": []}, set()  # type: ignore[var-annotated]
    for wait_ms, room, is_news in steps:
        now += wait_ms / 1024  # exact in binary
        if is_news:
            coalescer.touch(room)
            owed.add(room)
        for name in coalescer.due(now):
            told[name].append(now)
            owed.discard(name)
    for times in told.values():
        assert all(later - earlier >= 0.25 for earlier, later in pairwise(times))
    assert owed == set(coalescer.due(now + 0.25))
