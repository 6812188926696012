"""The clients' own evaluation of a model: mean and spread, each client counted once."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from flwr.app import Message, MetricRecord

from shared.events import ClientsEvaluated

_NOT_A_MEASURE = frozenset({"num-examples"})
_NO_MEASURE = 1e150  # NaN, infinity, or so large that no sum or square can be taken of it


def metrics_of(reply: Message) -> dict[str, float]:
    """Return a reply's single numbers."""
    return {
        key: float(value)
        for record in reply.content.values()
        if isinstance(record, MetricRecord)
        for key, value in record.items()
        if not isinstance(value, list)
    }


def summarise(server_round: int, clients: Sequence[Mapping[str, float]]) -> ClientsEvaluated | None:
    """Return mean, population standard deviation and extremes of every measure that all clients sent.

    Clients with no test data of their own ("num-examples" 0) do not count; None when nobody is left.
    """
    counted = [metrics for metrics in clients if metrics.get("num-examples", 1) > 0]
    if not counted:
        return None
    keys = [key for key in counted[0] if key not in _NOT_A_MEASURE and all(key in metrics for metrics in counted)]
    columns = {key: [metrics[key] for metrics in counted] for key in keys}
    finite = {key: column for key, column in columns.items() if all(abs(value) < _NO_MEASURE for value in column)}
    return ClientsEvaluated(
        server_round=server_round,
        mean={key: statistics.fmean(column) for key, column in finite.items()},
        deviation={key: statistics.pstdev(column) for key, column in finite.items()},
        minimum={key: min(column) for key, column in finite.items()},
        maximum={key: max(column) for key, column in finite.items()},
        num_clients=len(counted),
    )
