import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.report.scale import nice_scale, round_ticks


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.098, 0.95, (0.0, 0.25, 0.5, 0.75, 1.0)),
        (0.0, 2.3, (0.0, 1.0, 2.0, 3.0)),
        (0.0, 4.0, (0.0, 1.0, 2.0, 3.0, 4.0)),
        (0.0, 0.0, (-1.0, -0.5, 0.0, 0.5, 1.0)),
    ],
)
def test_ticks_are_round_numbers_around_the_values(low: float, high: float, ticks: tuple[float, ...]) -> None:
    scale = nice_scale(low, high)
    assert scale.ticks == pytest.approx(ticks)
    assert (scale.low, scale.high) == (scale.ticks[0], scale.ticks[-1])


@pytest.mark.parametrize(
    ("high", "ticks"), [(1, (0, 1)), (3, (0, 1, 2, 3)), (10, (0, 5, 10)), (20, (0, 5, 10, 15, 20))]
)
def test_counts_have_whole_ticks(high: float, ticks: tuple[int, ...]) -> None:
    assert nice_scale(0.0, high, is_whole=True).ticks == ticks


finite = st.floats(-1e12, 1e12)


@given(finite, finite)
def test_every_value_lies_on_its_scale(one: float, other: float) -> None:
    low, high = min(one, other), max(one, other)
    scale = nice_scale(low, high)
    slack = 1e-6 * (scale.high - scale.low)
    assert scale.low - slack <= low <= high <= scale.high + slack
    assert 2 <= len(scale.ticks) <= 12
    assert 0.0 <= scale.share(low) <= scale.share(high) <= 1.0


def test_what_lies_outside_is_drawn_on_the_edge() -> None:
    scale = nice_scale(0.0, 1.0)
    assert (scale.share(-5.0), scale.share(0.5), scale.share(7.0)) == (0.0, 0.5, 1.0)


@pytest.mark.parametrize(
    ("first", "last", "ticks"),
    [
        (1, 5, (1, 2, 3, 4, 5)),
        (3, 3, (3,)),
        (0, 20, (0, 5, 10, 15, 20)),
        (1, 20, (1, 5, 10, 15, 20)),
        (1, 100, (1, 20, 40, 60, 80, 100)),
        (0, 1000, (0, 200, 400, 600, 800, 1000)),
    ],
)
def test_rounds_have_few_round_ticks_and_both_ends(first: int, last: int, ticks: tuple[int, ...]) -> None:
    assert round_ticks(first, last) == ticks


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_whole_ticks_rise_from_first_to_last(one: int, other: int) -> None:
    first, last = min(one, other), max(one, other)
    ticks = round_ticks(first, last)
    assert list(ticks) == sorted(set(ticks))
    assert (ticks[0], ticks[-1]) == (first, last)
    assert len(ticks) <= 10
