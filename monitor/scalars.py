"""The numbers in events that trackers (TensorBoard, MLflow) draw as lines: one value a name and round."""

from __future__ import annotations

import math
from collections.abc import Mapping

from shared.events import ClientsEvaluated, Event, ModelEvaluated, PhaseEnded, PrivacySpent, RoundClosed

Scalars = Mapping[str, float]


def scalars_of(event: Event) -> tuple[int, Scalars]:
    """Return the round and its numbers by name, "central/accuracy"; none for events that hold no such number."""
    found: dict[str, float] = {}
    server_round = 0
    match event:
        case ModelEvaluated():
            server_round = event.server_round
            found = _under("central", event.metrics)
        case ClientsEvaluated():
            server_round = event.server_round
            for name in ("mean", "deviation", "minimum", "maximum"):
                found |= _under(f"clients/{name}", getattr(event, name))
        case PhaseEnded():
            server_round = event.server_round
            found = _under(f"{event.phase}/metrics", event.metrics) | {
                f"{event.phase}/accepted": float(event.accepted),
                f"{event.phase}/rejected": float(event.rejected),
                f"{event.phase}/late": float(event.late),
                f"{event.phase}/collect-seconds": event.collect_seconds,
                f"{event.phase}/aggregate-seconds": event.aggregate_seconds,
            }
        case PrivacySpent():
            server_round = event.server_round
            found = {"privacy/epsilon": event.epsilon, "privacy/epsilon-median": event.epsilon_median}
        case RoundClosed():
            server_round = event.server_round
            found = {"round/seconds": event.seconds, "round/checkpoint-seconds": event.checkpoint_seconds}
    return server_round, {name: value for name, value in found.items() if math.isfinite(value)}


def _under(prefix: str, metrics: Mapping[str, float]) -> dict[str, float]:
    return {f"{prefix}/{name}": float(value) for name, value in metrics.items()}
