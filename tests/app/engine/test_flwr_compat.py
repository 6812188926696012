"""The private names of the installed Flower do what is expected of them."""

from types import SimpleNamespace

import pytest
from flwr.common import Code, FitRes, Parameters, Status
from flwr.server import server as legacy_server

from app.engine import flwr_compat


class Client(SimpleNamespace):
    def fit(self, ins: object, timeout: float | None, group_id: int) -> FitRes:
        return FitRes(Status(Code.OK, ""), Parameters([], ""), int(self.cid), {})


def test_legacy_results_are_sorted_by_client_and_only_inside() -> None:
    original = legacy_server.fit_clients
    instructions = [(Client(cid=str(number)), None) for number in (12, 7, 100, 3)]
    with flwr_compat.results_in_order():
        results, failures = legacy_server.fit_clients(instructions, None, None, 1)  # type: ignore[arg-type]
    assert [result.num_examples for _, result in results] == [3, 7, 12, 100]
    assert failures == []
    assert legacy_server.fit_clients is original


def test_settings_are_flattened_and_overrides_parsed_by_flower() -> None:
    assert flwr_compat.flatten_settings({"a": 1, "b": {"c": {"d": True}}}) == {"a": 1, "b.c.d": True}
    parsed = flwr_compat.parse_overrides(["a=1 b.c.d='x y' e=2.5 f=true"])
    assert parsed == {"a": 1, "b.c.d": "x y", "e": 2.5, "f": True}
    with pytest.raises(ValueError, match="invalid format"):
        flwr_compat.parse_overrides(["a=unquoted"])


def test_flower_says_what_an_app_lacks() -> None:
    assert any("[tool.flwr.app]" in complaint for complaint in flwr_compat.complaints_about({"project": {}}))
