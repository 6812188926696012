"""A run's settings as the round loop wants them."""

from __future__ import annotations

from pathlib import Path

from app.engine.early_stop import EarlyStop
from app.engine.rounds import RoundSettings
from app.run_folder import EVENTS_FILE
from app.strategies.sampling import train_quorum
from monitor.series import global_accuracy, read_series
from monitor.sinks import read_events
from shared.config import RunConfig


def round_settings(config: RunConfig) -> RoundSettings:
    """Return what the loop needs to know."""
    return RoundSettings(
        num_rounds=config.num_rounds,
        min_clients=config.min_clients,
        timeout_s=config.round_timeout_s,
        quorum=config.quorum,
        train_quorum=train_quorum(config),
    )


def early_stop_of(config: RunConfig, run_dir: Path) -> EarlyStop:
    """Return the rule by which the run may end early; a resumed run's knows the rounds that closed before."""
    rule = EarlyStop(target_accuracy=config.target_accuracy, patience=config.patience)
    events = run_dir / EVENTS_FILE
    if (config.target_accuracy or config.patience) and events.is_file():
        rounds = read_series(read_events(events)).rounds
        rule.remember((row.server_round, global_accuracy(row)) for row in rounds if row.is_closed and row.server_round)
    return rule
