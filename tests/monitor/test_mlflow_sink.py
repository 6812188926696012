from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from monitor.mlflow_sink import MlflowSink, tracking_uri
from shared.events import Envelope, Event, ModelEvaluated, RunEnded, RunStarted

mlflow_missing = pytest.importorskip("importlib.util").find_spec("mlflow") is None
pytestmark = pytest.mark.skipif(mlflow_missing, reason="mlflow-skinny is not installed")

RUN = "it's a run"  # a folder's name may hold what ends a text in a query


def started(first_round: int = 1, **config: str) -> RunStarted:
    return RunStarted(
        config={"model": "cnn", **config},
        first_round=first_round,
        clients=[],
        num_clients=1,
        num_parameters=1,
        workers=1,
    )


def write(uri: str, events: Sequence[Event], ts: float) -> None:
    sink = MlflowSink(uri)
    for seq, event in enumerate(events, start=1):
        sink.write(Envelope(seq=seq, ts=ts, run=RUN, event=event))
    sink.close()


def test_mlflow_reads_back_a_run_that_was_stopped_and_went_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One test: making a store takes MLflow seconds."""
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "false")
    uri = tracking_uri(tmp_path, {})
    write(
        uri,
        [
            started(**{f"key-{number}": "x" * 9000 for number in range(120)}),
            ModelEvaluated(server_round=1, metrics={"accuracy": 0.5, "odd%name\n": 1.0}, seconds=0.1),
            RunEnded(state="stopped", rounds_completed=1, seconds=1.0),
        ],
        ts=100.0,
    )
    from mlflow.telemetry.utils import is_telemetry_disabled
    from mlflow.tracking import MlflowClient

    assert is_telemetry_disabled()
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("constellation")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == (RUN, "KILLED")
    assert run.data.params["model"] == "cnn"
    assert len(run.data.params) == 121
    assert run.data.metrics == {"central/accuracy": 0.5, "central/odd_name_": 1.0}

    write(
        uri,
        [
            started(first_round=2),
            ModelEvaluated(server_round=2, metrics={"accuracy": 0.75}, seconds=0.1),
            RunEnded(state="failed", rounds_completed=2, seconds=1.0, error="the disk is full"),
        ],
        ts=200.0,
    )
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FAILED"
    assert run.data.tags["constellation.error"] == "the disk is full"
    history = client.get_metric_history(run.info.run_id, "central/accuracy")
    assert [(point.step, point.value, point.timestamp) for point in history] == [(1, 0.5, 100_000), (2, 0.75, 200_000)]


def test_mlflows_own_variable_names_another_store(tmp_path: Path) -> None:
    assert tracking_uri(tmp_path, {"MLFLOW_TRACKING_URI": "http://127.0.0.1:5001"}) == "http://127.0.0.1:5001"
    assert tracking_uri(tmp_path, {}) == f"sqlite:///{tmp_path}/mlflow.db"
