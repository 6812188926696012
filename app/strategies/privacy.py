"""What the server keeps of its clients' privacy: what each has spent, and who has nothing left to spend."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping

from flwr.serverapp import Grid

from app.engine.grid_view import GridWithout
from app.strategies.verification import Values
from shared.config import RunConfig
from shared.errors import UpdateRejected
from shared.events import PrivacySpent
from shared.privacy.accounting import warning_of
from shared.privacy.history import SAMPLER
from shared.privacy.reply import ClientPrivacy, privacy_in
from shared.reasons import Reason

EXAMPLE = "example"  # the unit that is protected
_MAX_NAMED_CLIENTS = 1_000  # in one event
_ROUNDING = 1 + 1e-9


class PrivacyTally:
    """Judges what clients say of their privacy, and remembers it."""

    def __init__(self, config: RunConfig) -> None:
        """Start with nobody."""
        self._target_epsilon = config.target_epsilon
        self._max_grad_norm = config.max_grad_norm
        self._num_clients = config.num_clients
        self._min_clients = config.min_clients
        self._spent: dict[str, ClientPrivacy] = {}
        self._num_examples: dict[str, int] = {}
        self.exhausted: set[str] = set()

    @property
    def clients(self) -> frozenset[str]:
        """Who has trained so far."""
        return frozenset(self._spent)

    def check(self, client: str, values: Values) -> None:
        """Judge and remember what a train reply says of its privacy.

        Raises:
            UpdateRejected: It does not say it, or it is less than was asked for.
        """
        privacy, num_examples = privacy_in(values.metrics), values.num_examples
        if privacy is None:
            raise UpdateRejected(Reason.PRIVACY, "does not say with how much privacy it was trained")
        if num_examples is not None and privacy.delta >= 1 / num_examples:
            raise UpdateRejected(Reason.PRIVACY, f"delta {privacy.delta:g} is not below 1/n, n = {num_examples}")
        if self._target_epsilon and privacy.epsilon > self._target_epsilon * _ROUNDING:
            raise UpdateRejected(
                Reason.PRIVACY, f"epsilon {privacy.epsilon:.4g} is above the budget of {self._target_epsilon:g}"
            )
        self._remember(client, privacy, num_examples)

    def exhaust(self, client: str) -> None:
        """Remember that a client's budget is spent."""
        self.exhausted.add(client)

    def remaining(self, grid: Grid, name_at: Callable[[int], str]) -> Grid | None:
        """Return the grid without those whose budget is spent; None when too few are left for any round."""
        if not self.exhausted:
            return grid
        if self._num_clients - len(self.exhausted) < self._min_clients:
            return None
        return GridWithout(grid, lambda node_id: name_at(node_id) in self.exhausted)

    def event(self, server_round: int) -> PrivacySpent | None:
        """Sum up; None as long as nobody has trained."""
        if not self._spent:
            return None
        dearest = max(self._spent, key=lambda client: self._spent[client].epsilon)
        worst = self._spent[dearest]
        named = sorted(self._spent, key=lambda client: -self._spent[client].epsilon)[:_MAX_NAMED_CLIENTS]
        return PrivacySpent(
            server_round=server_round,
            unit=EXAMPLE,
            epsilon=worst.epsilon,
            epsilon_median=statistics.median(privacy.epsilon for privacy in self._spent.values()),
            delta=max(privacy.delta for privacy in self._spent.values()),
            target_epsilon=self._target_epsilon or None,
            accountant=worst.accountant,
            noise_multiplier=worst.noise_multiplier,
            max_grad_norm=self._max_grad_norm,
            sample_rate=worst.sample_rate,
            steps=worst.steps,
            sampler=SAMPLER,
            num_clients=len(self._spent),
            exhausted_clients=len(self.exhausted),
            warning=self._warning(),
            by_client={client: self._spent[client].epsilon for client in named},
        )

    def restore(self, rows: Iterable[Mapping[str, object]]) -> None:
        """Go on from the events of the run so far; what was spent in a round that never closed was spent too."""
        for row in rows:
            if row.get("phase") != "train":
                continue
            client, kind = str(row.get("client", "")), row.get("type")
            if kind == "update-rejected" and row.get("reason") == Reason.BUDGET_EXHAUSTED.value:
                self.exhaust(client)
            metrics = row.get("metrics")
            if kind == "update-accepted" and isinstance(metrics, Mapping):
                numbers = {str(key): float(value) for key, value in metrics.items() if isinstance(value, int | float)}
                num_examples = row.get("num-examples")
                if (privacy := privacy_in(numbers)) is not None:
                    self._remember(client, privacy, num_examples if isinstance(num_examples, int) else None)

    def _remember(self, client: str, privacy: ClientPrivacy, num_examples: int | None) -> None:
        known = self._spent.get(client)
        if known is None or privacy.epsilon >= known.epsilon:  # a life's cost never falls
            self._spent[client] = privacy
        if num_examples:
            self._num_examples[client] = num_examples

    def _warning(self) -> str:
        """Say what is weak about the weakest client's guarantee."""
        for client in sorted(self._spent, key=lambda client: -self._spent[client].epsilon):
            privacy = self._spent[client]
            warning = warning_of(privacy.epsilon, privacy.delta, self._num_examples.get(client, 1), privacy.sample_rate)
            if warning:
                return f"{client}: {warning}"
        return ""
