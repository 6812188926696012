"""Writes runs as their folders hold them, without training anything."""

from pathlib import Path

from monitor.sinks import JsonlSink
from shared.config import RunConfig
from shared.events import (
    Event,
    EventLog,
    ModelEvaluated,
    PhaseEnded,
    RoundClosed,
    RoundStarted,
    RunEnded,
    RunStarted,
    UpdateAccepted,
    UpdateRejected,
)

DAY_S = 86_400.0
NOW = 1_800_000_000.0


def round_events(number: int, accuracy: float) -> list[Event]:
    """One round of two clients: client-0's update is taken, client-1's is refused."""
    return [
        RoundStarted(server_round=number, attempt=1),
        UpdateAccepted(server_round=number, phase="train", client="client-0", num_examples=10, norm=1.0, metrics={}),
        UpdateRejected(
            server_round=number, phase="train", client="client-1", node_id="2", reason="bad-signature", detail="no"
        ),
        PhaseEnded(
            server_round=number, phase="train", accepted=1, rejected=1, late=0, collect_seconds=1.0,
            aggregate_seconds=0.1, kept_old_model=False, metrics={},
        ),
        ModelEvaluated(server_round=number, metrics={"loss": 1 - accuracy, "accuracy": accuracy}, seconds=0.1),
        RoundClosed(server_round=number, seconds=2.0, model_digest="ab", checkpoint_seconds=0.1),
    ]  # fmt: skip


def write_run(
    output: Path,
    run_id: str,
    *accuracies: float,
    began: float = NOW,
    state: str | None = "completed",
    **settings: object,
) -> Path:
    """Write what a run leaves; a state of None breaks it off after its last round."""
    config = RunConfig(num_rounds=len(accuracies) or 1, output=str(output), **settings)  # type: ignore[arg-type]
    path = output / run_id
    path.mkdir(parents=True)
    (path / "config.toml").write_text(config.to_toml())
    log = EventLog(run_id, [JsonlSink(path / "events.jsonl")], lambda: began)
    names = ["client-0", "client-1"]
    log.emit(
        RunStarted(
            config=dict(config.as_flat()), first_round=1, clients=names, num_clients=2, num_parameters=5, workers=1
        )
    )
    for number, accuracy in enumerate(accuracies, start=1):
        for event in round_events(number, accuracy):
            log.emit(event)
    if state is not None:
        log.emit(RunEnded(state=state, rounds_completed=len(accuracies), seconds=4.0))
    log.close()
    return path
