"""Secure aggregation in a whole run: the model of plain averaging, whatever the server sees of it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from app.strategies.catalog import make_strategy
from constellation import RunConfig, run
from shared.errors import ConfigError
from shared.events import MemorySink, PhaseEnded, UpdateAccepted

SMALL = RunConfig(
    dataset="synthetic",
    num_examples=600,
    model="linear",
    num_clients=6,
    num_rounds=2,
    fraction_evaluate=0.0,
    no_dashboard=True,
)


@pytest.fixture(autouse=True)
def own_keys(tmp_path, monkeypatch):
    monkeypatch.setenv("CONSTELLATION_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


@pytest.mark.e2e
def test_a_run_in_secret_ends_with_the_model_of_a_plain_one():
    plain = run(SMALL)
    sink = MemorySink()
    hidden = run(replace(SMALL, secure_aggregation=True), sinks=[sink])
    assert hidden.state == "completed"
    for name, array in plain.arrays.items():
        # Two rounds, each off by at most half a step of the grid (4 / 2^17), and what training makes of that.
        assert np.abs(hidden.arrays[name] - array).max() < 1e-3
    phases = [event.phase for event in sink.of_type(PhaseEnded) if event.server_round == 1]
    assert phases == ["train.keys", "train.shares", "train.update", "train"]
    accepted = sink.of_type(UpdateAccepted)
    assert {event.norm for event in accepted} == {None}  # nobody saw a change
    assert "accuracy" not in json.dumps([dict(event.metrics) for event in accepted])


@pytest.mark.e2e
def test_clients_that_forge_drop_out_and_the_others_are_summed():
    sink = MemorySink()
    result = run(replace(SMALL, secure_aggregation=True, attack=("forge:2",)), sinks=[sink])
    assert result.state == "completed"
    assert [event.accepted for event in sink.of_type(PhaseEnded) if event.phase == "train"] == [4, 4]


@pytest.mark.e2e
def test_groups_go_through_a_robust_rule():
    config = replace(SMALL, num_clients=9, secure_aggregation=True, secagg_groups=3, aggregation="median")
    assert run(config).state == "completed"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"strategy": "krum"}, "secure-aggregation hides the updates that strategy krum needs to see"),
        ({"aggregation": "median"}, "secure-aggregation hides the updates that aggregation median needs to see"),
        ({"aggregation": "fltrust"}, "secure-aggregation does not go with aggregation fltrust"),
    ],
)
def test_what_needs_to_see_updates_is_refused(changes, sentence):
    with pytest.raises(ConfigError, match=sentence):
        make_strategy(replace(SMALL, secure_aggregation=True, **changes))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"secure_aggregation": True, "signatures": False}, "secure-aggregation must be used with signatures"),
        ({"secagg_groups": 2}, "secagg-groups must be given with secure-aggregation"),
        ({"secure_aggregation": True, "secagg_groups": 3}, "secagg-groups must be at most a third of the 6 clients"),
    ],
)
def test_settings_that_keep_no_secret_are_refused(changes, sentence):
    with pytest.raises(ConfigError, match=sentence):
        replace(SMALL, **changes)
