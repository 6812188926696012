from __future__ import annotations

import math

from monitor.scalars import scalars_of
from shared.events import ClientsEvaluated, ModelEvaluated, PhaseEnded, RoundClosed, RunWaiting


def test_numbers_of_a_round_get_names_that_say_whose_they_are() -> None:
    assert scalars_of(ModelEvaluated(server_round=3, metrics={"loss": 0.5}, seconds=1.0)) == (3, {"central/loss": 0.5})
    clients = ClientsEvaluated(
        server_round=2, mean={"accuracy": 0.5}, deviation={"accuracy": 0.1}, minimum={}, maximum={}, num_clients=4
    )
    assert scalars_of(clients) == (2, {"clients/mean/accuracy": 0.5, "clients/deviation/accuracy": 0.1})
    closed = RoundClosed(server_round=1, seconds=2.0, model_digest="00", checkpoint_seconds=0.25)
    assert scalars_of(closed) == (1, {"round/seconds": 2.0, "round/checkpoint-seconds": 0.25})


def test_a_phase_counts_its_updates() -> None:
    phase = PhaseEnded(
        server_round=4, phase="train", accepted=8, rejected=2, late=1, collect_seconds=3.0, aggregate_seconds=0.5,
        kept_old_model=False, metrics={"train_loss": 0.25},
    )  # fmt: skip
    assert scalars_of(phase) == (
        4,
        {
            "train/metrics/train_loss": 0.25, "train/accepted": 8, "train/rejected": 2, "train/late": 1,
            "train/collect-seconds": 3.0, "train/aggregate-seconds": 0.5,
        },
    )  # fmt: skip


def test_what_no_chart_can_show_is_left_out() -> None:
    broken = ModelEvaluated(server_round=1, metrics={"loss": math.nan, "accuracy": math.inf, "f1": 0.5}, seconds=0.0)
    assert scalars_of(broken) == (1, {"central/f1": 0.5})
    assert scalars_of(RunWaiting(reason="paused")) == (0, {})
