"""The events of a federation that never ends, as rows: what benchmarks send to a dashboard."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

from shared.config import RunConfig
from shared.events import (
    Envelope,
    Event,
    JsonValue,
    ModelEvaluated,
    PhaseEnded,
    PhaseStarted,
    RoundClosed,
    RoundStarted,
    RunStarted,
    UpdateAccepted,
    UpdateReceived,
)

Row = dict[str, JsonValue]


def rows_of(run: str, *, num_clients: int, num_rounds: int = 1_000_000, seed: int = 1) -> Iterator[Row]:
    """Yield the rows of a run from its first event on; each is stamped with the time at which it is asked for."""
    for seq, event in enumerate(_events(num_clients, num_rounds, random.Random(seed)), start=1):
        yield Envelope(seq=seq, ts=time.time(), run=run, event=event).to_json()


def _events(num_clients: int, num_rounds: int, rng: random.Random) -> Iterator[Event]:
    clients = [f"client-{number}" for number in range(num_clients)]
    config = RunConfig(num_clients=num_clients, num_rounds=min(num_rounds, 100_000)).as_flat()
    yield RunStarted(
        config=dict(config), first_round=1, clients=clients, num_clients=num_clients, num_parameters=44_000, workers=2
    )
    for server_round in range(1, num_rounds + 1):
        yield RoundStarted(server_round=server_round, attempt=1)
        yield PhaseStarted(server_round=server_round, phase="train", clients=clients)
        for client in rng.sample(clients, num_clients):
            yield from _reply(server_round, client, rng)
        yield from _end(server_round, num_clients, rng)


def _reply(server_round: int, client: str, rng: random.Random) -> Iterator[Event]:
    yield UpdateReceived(
        server_round=server_round,
        phase="train",
        client=client,
        node_id=f"1000{client.removeprefix('client-')}",
        seconds=rng.uniform(0.1, 2.0),
        compute_seconds=rng.uniform(0.1, 1.0),
        num_bytes=180_000,
    )
    metrics = {"loss": rng.random(), "accuracy": rng.random(), "num-steps": 12.0}
    yield UpdateAccepted(
        server_round=server_round, phase="train", client=client, num_examples=120, norm=rng.random(), metrics=metrics
    )


def _end(server_round: int, num_clients: int, rng: random.Random) -> Iterator[Event]:
    yield PhaseEnded(
        server_round=server_round,
        phase="train",
        accepted=num_clients,
        rejected=0,
        late=0,
        collect_seconds=2.0,
        aggregate_seconds=0.01,
        kept_old_model=False,
        metrics={"loss": rng.random(), "accuracy": rng.random()},
    )
    metrics = {"loss": rng.random(), "accuracy": rng.random()}
    yield ModelEvaluated(server_round=server_round, metrics=metrics, seconds=0.1)
    digest = rng.randbytes(32).hex()
    yield RoundClosed(server_round=server_round, seconds=2.5, model_digest=digest, checkpoint_seconds=0.01)
