"""Mean and spread of what clients measure, whatever numbers they send."""

import pytest

from app.engine.client_metrics import summarise


def test_mean_and_spread_count_each_client_once() -> None:
    found = summarise(3, [{"num-examples": 1, "loss": 1.0}, {"num-examples": 99, "loss": 3.0}])
    assert found is not None
    assert (found.server_round, found.num_clients) == (3, 2)
    assert (found.mean, found.deviation) == ({"loss": 2.0}, {"loss": 1.0})
    assert (found.minimum, found.maximum) == ({"loss": 1.0}, {"loss": 3.0})


def test_clients_without_test_data_do_not_count() -> None:
    found = summarise(1, [{"num-examples": 0, "loss": 0.0}, {"num-examples": 5, "loss": 4.0}])
    assert found is not None
    assert (found.num_clients, found.mean) == (1, {"loss": 4.0})
    assert summarise(1, [{"num-examples": 0, "loss": 0.0}]) is None


@pytest.mark.parametrize("value", [1.7e308, -1.7e308, 1e200, float("nan"), float("inf")])
def test_numbers_that_cannot_be_added_up_are_no_measure(value: float) -> None:
    found = summarise(1, [{"loss": value, "accuracy": 0.5}, {"loss": value, "accuracy": 1.0}])
    assert found is not None
    assert found.mean == {"accuracy": 0.75}
