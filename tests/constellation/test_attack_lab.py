"""The laboratory: what it runs, what it refuses, and what its table says."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch

from constellation.attack_lab import Cell, LabSettings, backdoor_success, experiment, markdown
from constellation.cli import build_app, call
from constellation.root_update import root_data, trusted_update
from shared.config import RunConfig
from shared.datasets.federated import federate
from shared.errors import UsageError
from shared.models.catalog import build_model

SMALL = RunConfig(model="linear", num_clients=6, num_rounds=1, no_dashboard=True)


@pytest.fixture(autouse=True)
def own_keys(tmp_path, monkeypatch):
    monkeypatch.setenv("CONSTELLATION_HOME", str(tmp_path / "home"))


def test_table_has_a_line_a_rule_and_says_what_a_rule_needs():
    cells = [
        Cell(attack="none", rule="mean", accuracies=(0.5, 0.7)),
        Cell(attack="backdoor", rule="mean", accuracies=(0.5,), successes=(0.98,)),
        Cell(attack="none", rule="bulyan", needs=15),
        Cell(attack="backdoor", rule="bulyan", needs=15),
    ]
    assert markdown(cells) == (
        "| rule | none | backdoor |\n|---|---|---|\n"
        "| mean | 60.0 | 50.0/98 |\n"
        "| bulyan | n/a (needs n >= 15) | n/a (needs n >= 15) |\n"
    )


def test_success_counts_images_of_other_classes_that_become_the_target():
    config = SMALL
    data = federate(config)
    model = build_model("linear", data.input_shape, data.num_classes, 1)
    arrays = {name: torch.zeros_like(value).numpy() for name, value in model.state_dict().items()}
    bias = next(name for name in arrays if name.endswith("bias"))
    always_target = {**arrays, bias: arrays[bias] + torch.eye(10)[0].numpy()}
    never_target = {**arrays, bias: arrays[bias] + torch.eye(10)[3].numpy()}
    assert backdoor_success(config, data, always_target) == 1.0
    assert backdoor_success(config, data, never_target) == 0.0


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"attacks": ("none", "nan")}, "attacks must be among none, sign-flip, .* got 'nan'"),
        ({"rules": ("krumm",)}, "rules must be among mean, .* got 'krumm'"),
        ({"hostile": 6}, "hostile must be from 1 to num-clients - 1, got 6"),
    ],
)
def test_what_does_not_exist_is_refused(changes, sentence):
    with pytest.raises(UsageError, match=sentence):
        LabSettings(**{"config": SMALL, "hostile": 1, **changes})


@pytest.mark.e2e
def test_experiment_runs_what_is_defined_and_names_what_is_not():
    settings = LabSettings(
        config=SMALL, hostile=1, attacks=("none", "backdoor"), rules=("mean", "bulyan", "fltrust"), seeds=(1,)
    )
    progress = []
    cells = list(experiment(settings, lambda done, total: progress.append((done, total))))
    by_place = {(cell.rule, cell.attack): cell for cell in cells}
    assert by_place["bulyan", "none"].text == "n/a (needs n >= 7)"
    assert progress == [(1, 6), (2, 6), (5, 6), (6, 6)]
    assert by_place["mean", "none"].accuracies[0] > 0.5
    assert 0 <= by_place["mean", "backdoor"].successes[0] <= 1
    assert by_place["fltrust", "none"].accuracies[0] > 0.1


def test_ctrl_c_ends_the_experiment(monkeypatch):
    settings = LabSettings(config=SMALL, hostile=1, attacks=("none",), rules=("mean",), seeds=(1, 2))
    interrupted = SimpleNamespace(state="interrupted", accuracy=0.1, arrays={})
    monkeypatch.setattr("constellation.attack_lab.run", lambda _: interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(experiment(settings))


@pytest.mark.e2e
def test_command_prints_and_saves_the_table(tmp_path, capsys):
    arguments = ["attacks", "--attacks", "sign-flip", "--rules", "median", "--model", "linear", "--num-clients", "4"]
    arguments += ["--hostile", "1", "--num-rounds", "1", "--seeds", "3", "--output", str(tmp_path / "lab"), "--json"]
    assert call(build_app(), arguments) == 0
    printed = json.loads(capsys.readouterr().out)
    saved = json.loads((tmp_path / "lab" / "attacks.json").read_text())
    assert printed == saved
    assert printed["settings"]["hostile"] == 1
    (cell,) = printed["cells"]
    assert (cell["attack"], cell["rule"]) == ("sign-flip", "median")
    assert (tmp_path / "lab" / "attacks.md").read_text().startswith("| rule | sign-flip |")


def test_unwritable_folder_is_refused_before_anything_runs(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert call(build_app(), ["attacks", "--output", str(tmp_path / "file" / "lab")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_root_data_is_a_hundred_examples_of_everybodys_and_the_same_for_a_seed():
    everybody = federate(SMALL).pooled()
    one, again, other = (root_data(everybody, seed) for seed in (1, 1, 2))
    assert one.num_examples == 100
    assert torch.equal(one._inputs, again._inputs)
    assert not torch.equal(one._inputs, other._inputs)
    assert list(one.test_batches(10)) == []


def test_the_trusted_update_moves_the_model_it_is_given_and_not_its_input():
    data = federate(SMALL)
    update = trusted_update(SMALL, data)
    model = build_model("linear", data.input_shape, data.num_classes, 1)
    arrays = {name: value.numpy() for name, value in model.state_dict().items()}
    before = {name: value.copy() for name, value in arrays.items()}
    moved, again = update(1, arrays), update(1, arrays)
    for name, value in arrays.items():
        assert (value == before[name]).all()
        assert (moved[name] == again[name]).all()
    assert any((moved[name] != value).any() for name, value in arrays.items())
