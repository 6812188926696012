"""Over-selection, early stopping, and starting from a given model, in whole runs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import safetensors.numpy

from app.strategies.sampling import asked_fraction, train_quorum
from constellation import RunConfig, run
from shared.errors import ConfigError
from shared.events import MemorySink, PhaseEnded, PhaseStarted, RunEnded

SMALL = RunConfig(
    model="linear", num_clients=10, num_rounds=6, fraction_evaluate=0.0, no_dashboard=True, learning_rate=0.005
)


@pytest.fixture(autouse=True)
def own_keys(tmp_path, monkeypatch):
    monkeypatch.setenv("CONSTELLATION_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def test_over_selection_asks_more_and_wants_as_many():
    config = RunConfig(num_clients=10, fraction=0.5, over_selection=1.3)
    assert asked_fraction(config) == pytest.approx(0.65)
    assert train_quorum(config) == pytest.approx(1 / 1.3)
    everybody = RunConfig(num_clients=10, over_selection=1.3)  # there is nobody more to ask
    assert (asked_fraction(everybody), train_quorum(everybody)) == (1.0, 1.0)


@pytest.mark.e2e
def test_a_round_takes_the_first_of_those_it_asked():
    sink = MemorySink()
    run(replace(SMALL, num_rounds=2, fraction=0.5, over_selection=1.4, attack=("silent:2",)), sinks=[sink])
    assert [len(event.clients) for event in sink.of_type(PhaseStarted)] == [7, 7]
    assert [event.accepted for event in sink.of_type(PhaseEnded)] == [5, 5]


@pytest.mark.e2e
def test_a_run_ends_at_its_target_and_says_so(tmp_path):
    sink = MemorySink()
    result = run(replace(SMALL, num_rounds=30, target_accuracy=0.6), sinks=[sink])
    assert (result.state, result.accuracy >= 0.6) == ("completed", True)
    assert result.rounds_completed < 30
    (ended,) = sink.of_type(RunEnded)
    assert ended.reason == f"the target accuracy 0.6 was reached in round {result.rounds_completed}"


@pytest.mark.e2e
def test_a_run_goes_on_from_anothers_model(tmp_path):
    first = run(replace(SMALL, num_rounds=1))
    path = str(first.output / "model.safetensors")
    second = run(replace(SMALL, num_rounds=1, initial_model=path))
    before = second.series.rounds[0]
    assert before.accuracy == pytest.approx(first.accuracy)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "initial-model .* cannot be read: No such file"),
        (b"no tensors", "initial-model .* is no safetensors file"),
        (safetensors.numpy.save({"w": np.zeros(2, np.float32)}), "initial-model .* is of another model .* differ"),
    ],
)
def test_a_model_that_does_not_fit_is_refused_before_anything_is_written(tmp_path, content, sentence):
    path = tmp_path / "model.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=sentence):
        run(replace(SMALL, initial_model=str(path), output=str(tmp_path / "runs")))
    assert not (tmp_path / "runs").exists()
