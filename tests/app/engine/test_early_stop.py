"""When a run ends before its last round."""

from __future__ import annotations

from app.engine.early_stop import EarlyStop


def reasons(rule, *accuracies):
    return [rule.observe(number, accuracy) for number, accuracy in enumerate(accuracies, 1)]


def test_nothing_is_asked_for_and_nothing_ends():
    assert set(reasons(EarlyStop(), 0.1, 1.0, None, 0.1)) == {""}


def test_the_target_ends_it_in_the_round_that_has_it():
    assert reasons(EarlyStop(target_accuracy=0.9), 0.5, 0.8999, 0.9) == [
        "",
        "",
        "the target accuracy 0.9 was reached in round 3",
    ]


def test_patience_counts_rounds_without_a_better_one():
    assert reasons(EarlyStop(patience=2), 0.5, 0.6, 0.6, 0.59)[2:] == [
        "",
        "no better accuracy in 2 rounds; the best was 0.6 in round 2",
    ]
    assert reasons(EarlyStop(patience=2), 0.5, 0.4, 0.6, 0.5, 0.7)[1:] == ["", "", "", ""]
    assert reasons(EarlyStop(patience=2), None, None)[1] != ""  # nothing is measured: nothing gets better


def test_a_resumed_run_goes_on_counting():
    rule = EarlyStop(patience=3)
    rule.remember([(1, 0.7), (2, 0.6)])
    assert (rule.best, rule.best_round) == (0.7, 1)
    assert rule.observe(3, 0.65) == ""
    assert rule.observe(4, 0.65) != ""
