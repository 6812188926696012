"""Makes the events of whole runs, seeded: what a federation of so many clients and rounds would have written.

    from tests.recorded_events import recorded_run
    rows = recorded_run("big", num_clients=200, num_rounds=500)

The rows are those of events.jsonl, ascending by ``seq``. A share of the replies is refused or late, some clients are
slow, and accuracy rises; nothing is trained.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator

from shared.events import (
    ClientsEvaluated,
    Envelope,
    Event,
    ModelEvaluated,
    PartitionDescribed,
    PhaseEnded,
    PhaseStarted,
    RoundClosed,
    RoundStarted,
    RunEnded,
    RunStarted,
    UpdateAccepted,
    UpdateLate,
    UpdateReceived,
    UpdateRejected,
)

START = 1_700_000_000.0
_REASONS = ("norm", "bad-signature", "replay", "non-finite")


def recorded_run(
    run: str,
    *,
    num_clients: int = 5,
    num_rounds: int = 3,
    seed: int = 1,
    rejected: float = 0.02,
    late: float = 0.02,
    central: bool = True,
    ends: str | None = "completed",
    start: float = START,
) -> list[dict[str, object]]:
    """Return the rows of one run.

    Args:
        run: Its id.
        num_clients: All of them train and evaluate in every round.
        num_rounds: Rounds that close.
        seed: Of all that is random.
        rejected: Share of the replies that are refused.
        late: Share of the clients that do not answer in time.
        central: Whether there is a central test set.
        ends: How it ends; None leaves it running.
        start: Unix seconds of its first event.
    """
    rng = random.Random(seed)
    rows: list[dict[str, object]] = []
    clock = start
    for seq, (event, pause) in enumerate(_events(rng, num_clients, num_rounds, rejected, late, central), 1):
        clock += pause
        rows.append(dict(Envelope(seq=seq, ts=round(clock, 4), run=run, event=event).to_json()))
    if ends is not None:
        ended = RunEnded(state=ends, rounds_completed=num_rounds, seconds=round(clock - start, 4))
        rows.append(dict(Envelope(seq=len(rows) + 1, ts=round(clock + 0.01, 4), run=run, event=ended).to_json()))
    return rows


def _events(
    rng: random.Random, num_clients: int, num_rounds: int, rejected: float, late: float, central: bool
) -> Iterator[tuple[Event, float]]:
    clients = [f"client-{index}" for index in range(num_clients)]
    config = {
        "dataset": "mnist-sample", "model": "cnn", "strategy": "fedavg", "partition": "dirichlet", "alpha": 0.5,
        "num-clients": num_clients, "num-rounds": num_rounds, "engine": "local", "learning-rate": 0.02, "seed": 42,
    }  # fmt: skip
    yield RunStarted(
        config=config, first_round=1, clients=clients[:1000], num_clients=num_clients, num_parameters=61_706, workers=2
    ), 0.1  # fmt: skip
    histograms = {name: [rng.randrange(60) for _ in range(10)] for name in clients[:1000]}
    yield PartitionDescribed(class_names=[str(digit) for digit in range(10)], histograms=histograms), 0.01
    if central:
        yield ModelEvaluated(server_round=0, metrics={"loss": 2.3, "accuracy": 0.1}, seconds=0.2), 0.2
    speeds = {name: rng.uniform(0.2, 1.0) for name in clients}
    for number in range(1, num_rounds + 1):
        yield RoundStarted(server_round=number, attempt=1), 0.01
        good = 1.0 - 0.9 / number
        for phase in ("train", "evaluate"):
            yield from _phase(rng, number, phase, clients, speeds, good, rejected, late)
        if central:
            metrics = {
                "loss": round(2.3 * (1 - good) + 0.05, 4),
                "accuracy": round(min(1.0, good + rng.gauss(0, 0.005)), 4),
            }
            yield ModelEvaluated(server_round=number, metrics=metrics, seconds=0.2), 0.2
        digest = hashlib.sha256(f"{number}-{rng.random()}".encode()).hexdigest()
        yield RoundClosed(server_round=number, seconds=2.5, model_digest=digest, checkpoint_seconds=0.02), 0.05


def _phase(
    rng: random.Random,
    number: int,
    phase: str,
    clients: list[str],
    speeds: dict[str, float],
    good: float,
    rejected: float,
    late: float,
) -> Iterator[tuple[Event, float]]:
    yield PhaseStarted(server_round=number, phase=phase, clients=clients), 0.01
    fates = {name: rng.random() for name in clients}
    answering = sorted((name for name in clients if fates[name] >= late), key=lambda name: speeds[name])
    refused = [name for name in answering if fates[name] < late + rejected]
    for name in answering:
        seconds = round(speeds[name] * rng.uniform(0.9, 1.1), 4)
        yield UpdateReceived(
            server_round=number, phase=phase, client=name, node_id=name[7:], seconds=seconds,
            compute_seconds=round(seconds * 0.8, 4), num_bytes=250_000 if phase == "train" else 120,
        ), 1.0 / len(clients)  # fmt: skip
        if name in refused:
            reason = rng.choice(_REASONS)
            yield UpdateRejected(
                server_round=number, phase=phase, client=name, node_id=name[7:], reason=reason,
                detail=f"{reason} of {name}",
            ), 0.0  # fmt: skip
    late_ones = [name for name in clients if fates[name] < late]
    for name in late_ones:
        yield UpdateLate(server_round=number, phase=phase, client=name, seconds=2.0), 0.0
    accuracies: list[float] = []
    for name in answering:
        if name in refused:
            continue
        accuracy = round(min(1.0, max(0.0, good + rng.gauss(0, 0.05))), 4)
        accuracies.append(accuracy)
        yield UpdateAccepted(
            server_round=number, phase=phase, client=name, num_examples=rng.randrange(20, 400),
            norm=round(rng.uniform(0.5, 2.0), 4) if phase == "train" else None,
            metrics={"loss": round(2.3 * (1 - accuracy), 4), "accuracy": accuracy},
        ), 0.0  # fmt: skip
    counts = {"accepted": len(accuracies), "rejected": len(refused), "late": len(late_ones)}
    yield PhaseEnded(
        server_round=number, phase=phase, **counts, collect_seconds=1.0, aggregate_seconds=0.05,
        kept_old_model=False, metrics={"loss": 0.5},
    ), 0.05  # fmt: skip
    if phase == "evaluate" and accuracies:
        mean = sum(accuracies) / len(accuracies)
        yield ClientsEvaluated(
            server_round=number, mean={"accuracy": mean, "loss": 2.3 * (1 - mean)}, deviation={"accuracy": 0.05},
            minimum={"accuracy": min(accuracies)}, maximum={"accuracy": max(accuracies)}, num_clients=len(accuracies),
        ), 0.0  # fmt: skip
