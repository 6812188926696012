"""The cohort's bounds, against values worked out by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.strategies.validation import Member, ValidationPolicy, bound_shares, cap_counts, judge
from shared.errors import ConfigError
from shared.reasons import Reason

LAYOUT = ("arrays", "loss")


def member(
    client: str,
    *,
    norm: float | None = 1.0,
    num_examples: int | None = 10,
    layout: tuple[object, ...] = LAYOUT,
    enrolled: bool = False,
) -> Member:
    return Member(client=client, layout=layout, norm=norm, num_examples=num_examples, is_enrolled_with_maximum=enrolled)


def cohort(norms: list[float], counts: list[int] | None = None, *, enrolled: bool = False) -> list[Member]:
    sizes = counts or [10] * len(norms)
    pairs = zip(norms, sizes, strict=True)
    return [member(f"c{i}", norm=norm, num_examples=size, enrolled=enrolled) for i, (norm, size) in enumerate(pairs)]


def refused(members: list[Member], policy: ValidationPolicy | None = None) -> list[tuple[str, Reason]]:
    judgement = judge(members, policy or ValidationPolicy())
    return [(refusal.client, refusal.reason) for refusal in judgement.refusals]


def test_an_empty_cohort_is_judged_without_complaint() -> None:
    judgement = judge([], ValidationPolicy())

    assert (judgement.layout, judgement.refusals, judgement.caps, judgement.weights) == (None, [], [], {})


def test_a_norm_above_ten_times_the_median_is_refused_from_four_replies_up() -> None:
    assert refused(cohort([1.0, 1.0, 1.0, 10.01])) == [("c3", Reason.NORM)]
    assert refused(cohort([1.0, 1.0, 1.0, 10.0])) == []
    assert refused(cohort([1.0, 1.0, 1e9])) == []


def test_the_factor_can_be_set_and_switched_off() -> None:
    assert refused(cohort([1.0, 1.0, 1.0, 3.0]), ValidationPolicy(max_norm_factor=2)) == [("c3", Reason.NORM)]
    assert refused(cohort([1.0, 1.0, 1.0, 1e9]), ValidationPolicy(max_norm_factor=0)) == []


def test_a_cohort_in_which_most_changed_nothing_has_no_usual_norm() -> None:
    assert refused(cohort([0.0, 0.0, 0.0, 5.0])) == []


def test_checked_examples_allow_a_change_in_proportion() -> None:
    norms, counts = [1.0, 1.0, 1.0, 40.0], [10, 10, 10, 50]  # 40 is within 10 x the median x 5

    assert refused(cohort(norms, counts, enrolled=True)) == []
    assert refused(cohort([1.0, 1.0, 1.0, 51.0], counts, enrolled=True)) == [("c3", Reason.NORM)]


def test_claimed_examples_allow_nothing() -> None:
    assert refused(cohort([1.0, 1.0, 1.0, 40.0], [10, 10, 10, 50])) == [("c3", Reason.NORM)]


def test_few_examples_do_not_narrow_the_bound() -> None:
    assert refused(cohort([1.0, 1.0, 1.0, 9.0], [100, 100, 100, 1], enrolled=True)) == []


def test_the_layout_of_most_is_the_layout_of_all() -> None:
    odd = member("b", layout=("arrays", "loss", "extra"))

    assert refused([member("a"), odd, member("c")]) == [("b", Reason.SCHEMA)]


def test_a_draw_between_layouts_goes_to_the_one_of_the_round_before() -> None:
    ours, theirs = member("b"), member("a", layout=("arrays",))

    judgement = judge([theirs, ours], ValidationPolicy(), usual_layout=LAYOUT)

    assert [refusal.client for refusal in judgement.refusals] == ["a"]


def test_a_claim_without_enrollment_counts_at_most_ten_times_the_median() -> None:
    assert cap_counts({"a": 10, "b": 20, "c": 10**12}, set()) == {"a": 10, "b": 20, "c": 200}
    assert cap_counts({"a": 10, "b": 10**12}, set()) == {"a": 10, "b": 100}  # one of two cannot lift the median


def test_an_enrolled_maximum_takes_the_place_of_the_median() -> None:
    assert cap_counts({"a": 1, "b": 1, "c": 600}, {"c"}) == {"a": 1, "b": 1, "c": 600}


def test_a_lowered_count_is_reported_with_what_was_claimed() -> None:
    judgement = judge(cohort([1.0, 1.0, 1.0], [10, 20, 10**12]), ValidationPolicy())

    (cap,) = judgement.caps
    assert (cap.client, cap.claimed, cap.counted, cap.bound) == ("c2", 10**12, 200, "cohort-median")
    assert judgement.weights == {"c0": 10, "c1": 20, "c2": 200}


def test_a_count_of_nothing_has_no_weight() -> None:
    assert judge([member("a", num_examples=0), member("b")], ValidationPolicy()).weights == {"b": 10}


def test_a_share_is_bounded_after_the_others_were_counted() -> None:
    # x = 0.5 (x + 10 + 30) -> 40: half of 80.
    assert bound_shares({"a": 10, "b": 30, "c": 960}, 0.5) == {"a": 10, "b": 30, "c": 40}
    # Bounding c alone, x = 0.4 (x + 10 + 90) -> 66.7, leaves b with 90 of 166.7 = 54%: b is bounded too,
    # and x = 0.4 (2x + 10) -> 20.
    assert bound_shares({"a": 10, "b": 90, "c": 900}, 0.4) == pytest.approx({"a": 10, "b": 20, "c": 20})


def test_a_bound_that_cannot_be_kept_makes_all_count_alike() -> None:
    assert bound_shares({"a": 10, "b": 30, "c": 960}, 0.3) == {"a": 10, "b": 10, "c": 10}
    assert bound_shares({"a": 10}, 0.5) == {"a": 10}


def test_a_bound_of_nought_is_off() -> None:
    assert bound_shares({"a": 1, "b": 999}, 0) == {"a": 1, "b": 999}


@given(st.dictionaries(st.text(max_size=3), st.integers(1, 10**15), min_size=1, max_size=30), st.floats(0.01, 1))
def test_no_share_is_above_its_bound_and_nobody_gains_weight(weights: dict[str, int], bound: float) -> None:
    bounded = bound_shares(weights, bound)

    total = sum(bounded.values())
    assert max(bounded.values()) / total <= max(bound, 1 / len(weights)) * (1 + 1e-9)
    assert all(bounded[client] <= weight * (1 + 1e-9) for client, weight in weights.items())


def test_a_lowered_share_is_reported() -> None:
    judgement = judge(cohort([1.0, 1.0, 1.0], [10, 30, 90]), ValidationPolicy(max_client_weight=0.5))

    (cap,) = judgement.caps
    assert (cap.client, cap.claimed, cap.counted, cap.bound) == ("c2", 90, 40, "max-client-weight")


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"min_valid": 0}, "min-valid"),
        ({"max_norm_factor": -1.0}, "max-norm-factor"),
        ({"max_norm_factor": float("nan")}, "max-norm-factor"),
        ({"max_client_weight": 1.5}, "max-client-weight"),
    ],
)
def test_a_policy_out_of_range_is_refused_by_name(settings: dict[str, float], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        ValidationPolicy(**settings)  # type: ignore[arg-type]
