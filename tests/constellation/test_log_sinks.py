from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from constellation.log_sinks import log_sinks
from constellation.training import run
from shared.config import RunConfig
from shared.errors import ConfigError, UsageError


def test_a_run_is_written_to_tensorboard(tmp_path: Path) -> None:
    config = RunConfig(
        dataset="synthetic", num_examples=120, model="linear", num_clients=2, num_rounds=2, output=str(tmp_path)
    )
    result = run(config, sinks=log_sinks("tensorboard", tmp_path))
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(result.output / "tensorboard"))
    found.Reload()
    assert found.Scalars("central/accuracy")[-1].value == pytest.approx(result.accuracy)
    assert [scalar.step for scalar in found.Scalars("train/accepted")] == [1, 2]


def test_no_name_is_no_sink(tmp_path: Path) -> None:
    assert log_sinks("", tmp_path) == []


def test_names_are_checked_before_a_run_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"log-to must name tensorboard or mlflow, got 'wandb'"):
        log_sinks("tensorboard, wandb", tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"pip install 'constellation-fl\[mlflow\]'"):
        log_sinks("mlflow", tmp_path)
