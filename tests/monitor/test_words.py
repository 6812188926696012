import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.words import REASON_WORDS, clean, count, duration, number, percent, plural, reason_in_words
from shared.reasons import Reason


def test_every_reason_has_words() -> None:
    assert set(REASON_WORDS) == set(Reason)


def test_an_unknown_reason_is_shown_as_it_is() -> None:
    assert reason_in_words("newer-reason\x1b") == "newer-reason?"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("client-1", "client-1"),
        ("é 客户", "é 客户"),
        ("a\nb\tc", "a b c"),
        ("\x1b[2Jx", "?[2Jx"),
        ("\x9bx", "?x"),
        ("a\u202eb\u2028\ud800", "a?b??"),
        ("x" * 201, "x" * 199 + "…"),
        ("x" * 200, "x" * 200),
        (7, "7"),
    ],
)
def test_text_from_clients_is_made_harmless(text: object, shown: str) -> None:
    assert clean(text) == shown


@given(st.text())
def test_cleaned_text_is_one_printable_line(text: str) -> None:
    shown = clean(text)
    assert len(shown) <= 200
    assert shown.isprintable()


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.1234, "0.123"),
        (0.0, "0.000"),
        (0.00012, "0.00012"),
        (12345678.0, "1.23e+07"),
        (None, "–"),
        (float("nan"), "–"),
    ],
)
def test_numbers(value: float | None, shown: str) -> None:
    assert number(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")],
)
def test_durations(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_an_unknown_duration_is_a_dash() -> None:
    assert duration(None) == duration(float("inf")) == duration(-1.0) == "–"


def test_counts_percentages_and_plurals() -> None:
    assert count(12345) == "12,345"
    assert percent(0.9512) == "95.1%"
    assert percent(None) == count(None) == "–"
    assert (plural(1, "client"), plural(1000, "client")) == ("1 client", "1,000 clients")
