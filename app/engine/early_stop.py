"""When a run has learnt enough, or nothing more: pure, told of each closed round."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class EarlyStop:
    """Ends a run at a target accuracy, or after so many rounds without a better one; 0 switches either off."""

    target_accuracy: float = 0.0  # of the global model, 0 to 1
    patience: int = 0  # rounds
    best: float = -1.0
    best_round: int = 0

    def observe(self, server_round: int, accuracy: float | None) -> str:
        """Take a closed round's accuracy; returns why the run ends now, "" when it goes on.

        A round without an accuracy counts as one without a better one.
        """
        if accuracy is not None and accuracy > self.best:
            self.best, self.best_round = accuracy, server_round
        if self.target_accuracy and accuracy is not None and accuracy >= self.target_accuracy:
            return f"the target accuracy {self.target_accuracy:g} was reached in round {server_round}"
        if self.patience and server_round - self.best_round >= self.patience:
            return (
                f"no better accuracy in {self.patience} rounds; the best was {self.best:.4g} in round {self.best_round}"
            )
        return ""

    def remember(self, accuracies: Iterable[tuple[int, float | None]]) -> None:
        """Take the rounds that closed before a run was resumed."""
        for server_round, accuracy in accuracies:
            self.observe(server_round, accuracy)
