import math

from monitor.metrics import accuracy_of, as_number, loss_of


def test_our_names_win_over_those_of_other_apps() -> None:
    assert loss_of({"eval_loss": 2.0, "loss": 1.0}) == 1.0
    assert accuracy_of({"eval_acc": 0.5}) == 0.5


def test_what_is_not_a_finite_number_is_nothing() -> None:
    for value in (None, "1", True, math.nan, math.inf, [1.0], 10**400):
        assert as_number(value) is None
        assert loss_of({"loss": value}) is None


def test_an_unusable_metric_gives_way_to_a_usable_one() -> None:
    assert loss_of({"loss": math.nan, "train_loss": 3}) == 3.0
