"""A row of the runs as the value that pages and documents read: with its reason, its actions and its time left."""

from __future__ import annotations

import json
import statistics
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, select
from sqlalchemy.sql import Select

from app.storage.projection import TERMINAL, total_seconds
from app.storage.scoring import spark_points
from app.storage.tables import ROUNDS, RUNS
from app.storage.views import RunAction, RunView

LIVING = ("starting", "running", "paused", "stopping")

_ACTIONS: dict[str, tuple[RunAction, ...]] = {
    "starting": ("pause", "stop"),
    "running": ("pause", "stop"),
    "paused": ("resume", "stop"),
    "stopping": (),
    "completed": (),
    "stopped": ("resume",),
    "failed": ("resume",),
    "interrupted": ("resume",),
}

_SAME = (
    "run_id", "name", "state", "desired_state", "origin", "error", "engine", "dataset", "model", "strategy",
    "partition", "alpha", "num_clients", "num_rounds", "num_parameters", "rounds_completed", "current_round",
    "created_ts", "started_ts", "ended_ts", "updated_ts", "accuracy", "loss", "best_accuracy", "best_round",
    "updates_accepted", "updates_rejected", "updates_late", "bytes_received", "epsilon", "delta", "epsilon_unit",
    "last_seq",
)  # fmt: skip
_MORE = (
    "id",
    "reason",
    "rejections",
    "spark",
    "recent_seconds",
    "start_ts",
    "last_ts",
    "seconds_before",
    "ended_seconds",
)
_OF_ROUND = ("state", "phase", "phase_asked", "phase_answered", "started_ts", "is_closed")
_COLUMNS = tuple(RUNS.c[name] for name in (*_SAME, *_MORE)) + tuple(
    ROUNDS.c[name].label(f"round_{name}") for name in _OF_ROUND
)


def select_runs(*conditions: ColumnElement[bool]) -> Select[Any]:
    """Select runs, each with where its current round stands."""
    current = and_(ROUNDS.c.run_key == RUNS.c.id, ROUNDS.c.server_round == RUNS.c.current_round)
    return select(*_COLUMNS).select_from(RUNS.outerjoin(ROUNDS, current)).where(*conditions)


def run_view(row: Row[Any], now: float) -> RunView:
    """Make the view of a row that ``select_runs`` gave."""
    values: dict[str, Any] = {name: getattr(row, name) for name in _SAME}
    return RunView.model_construct(
        **values,
        reason=reason_of(row),
        phase=_phase_of(row),
        seconds=total_seconds(row),
        eta_seconds=_seconds_left(row, now),
        rejections=json.loads(row.rejections),
        actions=actions_of(row.state, row.desired_state),
        spark=spark_points(row.spark),
    )


def actions_of(state: str, desired_state: str) -> tuple[RunAction, ...]:
    """Return what can be asked of a run in this state."""
    if state == "queued":
        return ("start", "stop") if desired_state == "pause" else ("pause", "stop")
    if state in ("starting", "running") and desired_state == "pause":
        return ("resume", "stop")
    return _ACTIONS.get(state, ())


def reason_of(row: Any) -> str:
    """Say why a run waits, or what it does; never nothing."""
    return str(_reason(row))


def _reason(row: Any) -> Any:
    if row.state in TERMINAL:
        return row.reason or _ENDINGS[row.state](row)
    if row.state == "queued":
        return row.reason or ("not started yet" if row.desired_state == "pause" else "waits for its turn to start")
    if row.state == "starting":
        return row.reason or "the training process starts"
    doing = row.reason or _doing(row)
    if row.state == "stopping":
        return f"stops: {doing}"
    if row.state == "paused":
        return row.reason or _paused(row)
    return f"pauses after this phase; {doing}" if row.desired_state == "pause" else doing


_ENDINGS: dict[str, Any] = {
    "completed": lambda row: f"all {row.num_rounds} rounds are done" if row.num_rounds > 1 else "done",
    "stopped": lambda row: f"stopped after round {row.rounds_completed}",
    "failed": lambda row: row.error or "failed",
    "interrupted": lambda row: row.error or f"its process ended after round {row.rounds_completed}; it can be resumed",
}


def _paused(row: Any) -> str:
    return f"paused in round {row.current_round}" if row.current_round else "paused before the first round"


def _doing(row: Any) -> str:
    if not row.current_round or row.round_state is None:
        return "prepares the first round"
    if row.round_is_closed:
        return f"round {row.current_round} is over"
    if row.round_state == "aggregating":
        return f"{row.round_phase}: all answered; the server checks and aggregates"
    if row.round_phase:
        asked = row.round_phase_asked
        return f"{row.round_phase}: {row.round_phase_answered} of {asked} client{'s' * (asked != 1)} answered"
    return f"round {row.current_round}: between two phases"


def _phase_of(row: Any) -> str:
    if row.state in TERMINAL or row.round_state is None or row.round_is_closed:
        return ""
    return "aggregate" if row.round_state == "aggregating" else str(row.round_phase)


def _seconds_left(row: Any, now: float) -> float | None:
    """Estimate the rest of the run from the median of the last rounds; None before the first is closed."""
    if row.state != "running" or not row.num_rounds:
        return None
    recent = json.loads(row.recent_seconds)
    if not recent:
        return None
    typical = statistics.median(recent)
    to_go = row.num_rounds - row.rounds_completed
    is_open = row.round_started_ts is not None and not row.round_is_closed
    into_round = max(0.0, now - row.round_started_ts) if is_open else 0.0
    return float(max(0.0, to_go * typical - min(into_round, typical))) if to_go > 0 else 0.0
