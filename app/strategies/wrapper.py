"""A strategy around a strategy: the seam for everything that happens before or after anybody's aggregation."""

from __future__ import annotations

from collections.abc import Iterable

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy


class StrategyWrapper(Strategy):
    """Hands everything to the inner strategy; override what is to be different.

    Attributes that are not here are the inner strategy's (``weighted_by_key``, an accountant's ``privacy_spent``), so
    that whoever asks a strategy for its settings need not know that it is wrapped.
    """

    def __init__(self, inner: Strategy) -> None:
        """Wrap ``inner``."""
        self.inner = inner

    def __getattr__(self, name: str) -> object:
        """Read what only the inner strategy has."""
        if name == "inner" or (name.startswith("__") and name.endswith("__")):  # while being copied there is none yet
            raise AttributeError(name)
        return getattr(self.inner, name)

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Choose the clients of a round and what they are sent."""
        return self.inner.configure_train(server_round, arrays, config, grid)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Make the next global model from the replies."""
        return self.inner.aggregate_train(server_round, replies)

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Choose the clients that evaluate the global model."""
        return self.inner.configure_evaluate(server_round, arrays, config, grid)

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Make one set of metrics from the replies."""
        return self.inner.aggregate_evaluate(server_round, replies)

    def summary(self) -> None:
        """Log the inner strategy's settings."""
        self.inner.summary()


def innermost(strategy: Strategy) -> Strategy:
    """Return the strategy at the core of our wrappers and of Flower's (which call it ``strategy``)."""
    while True:
        wrapped = vars(strategy).get("inner", vars(strategy).get("strategy"))
        if not isinstance(wrapped, Strategy):
            return strategy
        strategy = wrapped
