"""Rows of rounds, updates, clients, models and events as the values that pages and documents read."""

from __future__ import annotations

import json
from typing import Any

from app.storage.projection import TERMINAL
from app.storage.scoring import or_mean
from app.storage.views import (
    ClientView,
    EventView,
    ModelView,
    PrivacyView,
    RoundView,
    Spread,
    UpdateView,
)

_ROUND = (
    "server_round", "attempt", "started_ts", "seconds", "loss", "accuracy", "train_loss", "accepted", "rejected",
    "late", "capped", "evaluations_accepted", "evaluations_rejected", "evaluations_late", "bytes_received",
    "collect_seconds", "aggregate_seconds", "evaluate_seconds", "checkpoint_seconds", "kept_old_model",
    "model_digest", "epsilon",
)  # fmt: skip
ROUND_COLUMNS = (*_ROUND, "state", "is_closed", "client_loss", "client_accuracy")

UPDATE_COLUMNS = (
    "server_round", "attempt", "phase", "client", "state", "ts", "asked_ts", "start_s", "seconds", "compute_seconds",
    "reason", "detail", "num_examples", "num_bytes", "norm", "metrics",
)  # fmt: skip

# Views are made without pydantic's checks: their values come from our own tables, and 1,000 of them from one query.


def round_view(row: Any, run_state: str) -> RoundView:
    """Make the view of a round; one that is open in a run that is over has failed, but for the initial model's."""
    state = row.state
    if row.is_closed or row.server_round == 0:
        state = "closed"
    elif run_state in TERMINAL:
        state = "failed"
    return RoundView.model_construct(
        **{name: getattr(row, name) for name in _ROUND},
        state=state,
        client_loss=spread_view(row.client_loss),
        client_accuracy=spread_view(row.client_accuracy),
    )


def spread_view(text: str) -> Spread | None:
    """Read a spread."""
    return Spread.model_construct(**json.loads(text)) if text else None


def update_view(row: Any) -> UpdateView:
    """Make the view of an update."""
    *values, metrics = row
    return UpdateView.model_construct(
        **dict(zip(UPDATE_COLUMNS, values, strict=False)), metrics=json.loads(metrics) if metrics else {}
    )


def refusal_view(row: Any) -> UpdateView:
    """Make the view of a refused reply."""
    return UpdateView.model_construct(
        server_round=row.server_round,
        attempt=row.attempt,
        phase=row.phase,
        client=row.client,
        state="rejected",
        ts=row.ts,
        reason=row.reason,
        detail=row.detail,
    )


def client_view(row: Any, current_round: int, *, is_over: bool, epsilons: dict[str, float]) -> ClientView:
    """Make the view of a client, whose last report counts: on its own test data, or else in training."""
    is_evaluated = row.evaluated_round >= 0
    return ClientView.model_construct(
        client=row.client,
        state=row.state if row.state_round == current_round and not is_over else "idle",
        last_seen_ts=row.last_seen_ts,
        num_examples=row.claimed_examples if row.held_examples is None else row.held_examples,
        histogram=tuple(json.loads(row.histogram)) if row.histogram else (),
        asked=row.asked,
        accepted=row.accepted,
        rejected=row.rejected,
        late=row.late,
        loss=row.evaluated_loss if is_evaluated else row.trained_loss,
        accuracy=row.evaluated_accuracy if is_evaluated else row.trained_accuracy,
        mean_seconds=row.train_seconds / row.num_timed if row.num_timed else None,
        bytes_received=row.bytes_received,
        epsilon=epsilons.get(row.client),
    )


def event_view(row: Any) -> EventView:
    """Make the view of an event."""
    return EventView.model_construct(
        id=row.id, seq=row.seq, ts=row.ts, run=row.run_id, type=row.type, data=json.loads(row.data)
    )


def model_view(row: Any) -> ModelView:
    """Make the view of a model, with how good it was after its round."""
    return ModelView.model_construct(
        digest=row.digest,
        run_id=row.run_id,
        server_round=row.server_round,
        parent=row.parent,
        created_ts=row.created_ts,
        accuracy=or_mean(row.accuracy, row.client_accuracy),
        loss=or_mean(row.loss, row.client_loss),
        size_bytes=row.size_bytes,
    )


MAX_CLIENTS_SHOWN = 200


def privacy_view(text: str) -> PrivacyView | None:
    """Read what the accountants said last."""
    if not text:
        return None
    told = {key.replace("-", "_"): value for key, value in json.loads(text).items()}
    by_client = told.pop("by_client", {})
    largest = sorted(by_client.items(), key=lambda item: (-item[1], item[0]))[:MAX_CLIENTS_SHOWN]
    return PrivacyView.model_construct(**told, by_client=dict(largest))
