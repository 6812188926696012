"""What a run spent of its differential privacy, from its events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from monitor import rows
from monitor.metrics import as_number
from monitor.rows import Row
from shared.events import PrivacySpent


@dataclass(frozen=True, slots=True, kw_only=True)
class Privacy:
    """What the clients' accountants say; figures of a client are those of the one with the largest epsilon."""

    epsilon: float  # maximum over clients
    delta: float
    epsilon_median: float | None = None
    target_epsilon: float | None = None
    noise_multiplier: float | None = None
    max_grad_norm: float | None = None
    sample_rate: float | None = None
    steps: int | None = None
    sampler: str = ""
    unit: str = "example"  # what is protected: one "example", or one "client"
    accountant: str = ""
    num_clients: int = 0
    exhausted_clients: int = 0
    epsilon_by_round: tuple[tuple[int, float], ...] = ()  # (round, epsilon after it)
    by_client: Mapping[str, float] = field(default_factory=dict)
    note: str = ""  # where the number means little

    def to_json(self) -> dict[str, object]:
        """Return the figures for ``--json`` and ``report.json``."""
        return {
            "unit": self.unit,
            "epsilon": self.epsilon,
            "epsilon_median": self.epsilon_median,
            "delta": self.delta,
            "target_epsilon": self.target_epsilon,
            "accountant": self.accountant,
            "noise_multiplier": self.noise_multiplier,
            "max_grad_norm": self.max_grad_norm,
            "sample_rate": self.sample_rate,
            "steps": self.steps,
            "sampler": self.sampler,
            "num_clients": self.num_clients,
            "exhausted_clients": self.exhausted_clients,
            "warning": self.note,
        }


def read_privacy(spent: Sequence[Row]) -> Privacy | None:
    """Read the ``privacy-spent`` rows of a run, in order; None where there is none.

    What was spent stays spent: the rows of a round that was started again count too.
    """
    if not spent:
        return None
    last = spent[-1]
    by_round = {rows.whole(row, "server-round"): rows.number(row, "epsilon") or 0.0 for row in spent}
    told = rows.mapping(last, "by-client")
    by_client = {name: value for name, item in told.items() if (value := as_number(item)) is not None}
    return Privacy(
        epsilon=rows.number(last, "epsilon") or 0.0,
        delta=rows.number(last, "delta") or 0.0,
        epsilon_median=rows.number(last, "epsilon-median"),
        target_epsilon=rows.number(last, "target-epsilon"),
        noise_multiplier=rows.number(last, "noise-multiplier"),
        max_grad_norm=rows.number(last, "max-grad-norm"),
        sample_rate=rows.number(last, "sample-rate"),
        steps=rows.whole(last, "steps"),
        sampler=rows.text(last, "sampler"),
        unit=rows.text(last, "unit"),
        accountant=rows.text(last, "accountant"),
        num_clients=rows.whole(last, "num-clients"),
        exhausted_clients=rows.whole(last, "exhausted-clients"),
        epsilon_by_round=tuple(sorted(by_round.items())),
        by_client=by_client,
        note=rows.text(last, "warning"),
    )


def privacy_line(event: PrivacySpent) -> str:
    """Say in a few words what was spent: for the terminal."""
    budget = f" of {event.target_epsilon:g}" if event.target_epsilon else ""
    out = f", {event.exhausted_clients} with nothing left" if event.exhausted_clients else ""
    return f"epsilon {event.epsilon:.3g}{budget} (delta {event.delta:.2g}, for each {event.unit}{out})"
