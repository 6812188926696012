"""`constellation evaluate`: the figures are those of the run, and each class is told apart."""

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from torch import Tensor, nn

from constellation import cli
from constellation.scoring import class_scores, score
from constellation.trained_model import TrainedModel
from constellation.training import run
from monitor.sinks import read_events
from shared.config import RunConfig
from shared.datasets.dataset import Dataset, Normalization
from shared.errors import DatasetError

Small = Callable[..., RunConfig]
NAMES = ("ant", "bee", "cow")


class Largest(nn.Module):
    """Answers with the place of the largest input: its logits are its inputs."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.flatten(1)


def table(answers: list[int], labels: list[int], names: tuple[str, ...] = NAMES, name: str = "toy") -> Dataset:
    """Make a data set on which ``Largest`` gives these answers."""
    inputs = torch.eye(3)[answers].reshape(-1, 1, 1, 3) * 2
    numbers = torch.tensor(labels)
    return Dataset(
        name=name, train_inputs=inputs, train_labels=numbers, test_inputs=inputs, test_labels=numbers, class_names=names
    )


def trained(data: Dataset) -> TrainedModel:
    return TrainedModel(run_dir=Path("runs/r1"), config=RunConfig(dataset="toy"), data=data, module=Largest())


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    code = cli.call(cli.build_app(), ["evaluate", *map(str, arguments)])
    said = capsys.readouterr()
    return code, said.out, said.err


# ---- scores by hand ----


def test_accuracy_loss_and_classes_of_a_case_by_hand() -> None:
    # labels 0 0 0 1 1; answers 0 0 1 1 0: 3 of 5 are right, and no example is a cow
    scores = score(trained(table([0, 0, 1, 1, 0], [0, 0, 0, 1, 1])))
    right, wrong = math.log(1 + 2 * math.exp(-2)), 2 + math.log(1 + 2 * math.exp(-2))  # logits 2, 0, 0
    assert (scores.num_examples, scores.accuracy) == (5, 0.6)
    assert scores.loss == pytest.approx((3 * right + 2 * wrong) / 5, rel=1e-6)
    assert scores.confusion.tolist() == [[2, 1, 0], [1, 1, 0], [0, 0, 0]]
    ant, bee, cow = scores.classes
    assert (ant.name, ant.num_examples, ant.recall, ant.precision) == (
        "ant",
        3,
        pytest.approx(2 / 3),
        pytest.approx(2 / 3),
    )
    assert (ant.mistaken_for, ant.num_mistaken) == ("bee", 1)
    assert (bee.recall, bee.precision, bee.mistaken_for) == (0.5, 0.5, "ant")
    assert (cow.num_examples, cow.recall, cow.precision, cow.mistaken_for, cow.num_mistaken) == (0, None, None, "", 0)


def test_the_most_frequent_mistake_is_named() -> None:
    (first, *_) = class_scores(np.array([[5, 1, 3], [0, 1, 0], [0, 0, 1]]), NAMES)
    assert (first.mistaken_for, first.num_mistaken) == ("cow", 3)


def test_classes_of_another_set_are_matched_by_name() -> None:
    other = table([2, 0], [0, 1], ("cow", "ant"))
    scores = score(trained(table([0], [0])), other, "other")
    assert scores.accuracy == 1.0
    assert scores.confusion.tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 1]]
    assert scores.remarks == ()


def test_as_many_classes_of_other_names_are_matched_by_place_and_said() -> None:
    scores = score(trained(table([0], [0])), table([0, 1], [0, 1], ("x", "y", "z")), "other")
    assert scores.accuracy == 1.0
    assert scores.remarks == ("its classes have other names (x, y, z): they are matched by their place",)


def test_other_classes_are_refused() -> None:
    with pytest.raises(DatasetError, match=r"'other' has 2 classes \(x, y\), the model knows 3 \(ant, bee, cow\)"):
        score(trained(table([0], [0])), table([0], [0], ("x", "y")), "other")


def test_another_shape_is_refused() -> None:
    wide = torch.zeros(1, 1, 1, 4)
    other = replace(table([0], [0]), train_inputs=wide, test_inputs=wide)
    with pytest.raises(DatasetError, match="inputs of shape 1x1x4 do not fit the model of run r1, which takes 1x1x3"):
        score(trained(table([0], [0])), other, "other")


def test_another_sets_images_are_normalised_as_the_models_were() -> None:
    def images(normalization: Normalization) -> Dataset:
        pixels = torch.tensor([[0, 255, 0]], dtype=torch.uint8).reshape(1, 1, 1, 3)
        return replace(table([0], [1]), train_inputs=pixels, test_inputs=pixels, normalization=normalization)

    own, other = Normalization(mean=(0.0,), std=(0.5,)), Normalization(mean=(0.0,), std=(1.0,))
    scores = score(trained(images(own)), images(other), "other")
    assert scores.loss == pytest.approx(math.log(1 + 2 * math.exp(-2)), rel=1e-6)  # logits 0, 2, 0
    assert scores.remarks == ("the images are normalised as those of toy were",)


# ---- the command on a real run ----


def test_the_figures_are_those_the_run_reported(digits_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, digits_run, "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    last = [row for row in read_events(digits_run / "events.jsonl") if row["type"] == "model-evaluated"][-1]
    reported = last["metrics"]
    assert isinstance(reported, dict)
    assert found["accuracy"] == reported["accuracy"]
    assert found["loss"] == pytest.approx(reported["loss"], rel=1e-5)
    assert found["num_examples"] == 2000
    assert sum(one["num_examples"] for one in found["classes"]) == 2000
    assert [one["class"] for one in found["classes"]] == list("0123456789")
    right = sum(row[index] for index, row in enumerate(found["confusion"]))
    assert right / 2000 == found["accuracy"]


def test_the_table_is_for_people(digits_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "last", "--output", digits_run.parent)
    assert (code, err) == (0, "")
    assert f"run {digits_run.name}: cnn trained on mnist-sample with fedavg" in out
    assert "2,000 test examples of mnist-sample: accuracy 9" in out
    assert len([line for line in out.splitlines() if line[:1].isdigit() and line[1] == " "]) == 10
    assert max(map(len, out.splitlines())) <= 80


def test_another_data_set_is_scored(digits_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images, labels = np.zeros((4, 28, 28), np.uint8), np.array([0, 1, 0, 1])
    parts = {"train_images": images, "train_labels": labels, "test_images": images, "test_labels": labels}
    np.savez(tmp_path / "blank.npz", **parts)
    code, out, err = call(capsys, digits_run, "--dataset", f"npz:{tmp_path}/blank.npz", "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert (found["dataset"], found["num_examples"]) == (f"npz:{tmp_path}/blank.npz", 4)
    assert found["accuracy"] in (0.0, 0.5)  # one answer for all blank images


def test_a_run_on_ones_own_loaders_is_scored_on_all_clients_tests(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own_loaders.py").write_text(
        "import torch\n"
        "def load(client_id, num_clients):\n"
        "    torch.manual_seed(client_id)\n"
        "    x = torch.randn(12, 1, 4, 4); y = torch.arange(12) % 3\n"
        "    return [(x, y)], [(x[:5], y[:5])]\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    folder = run(small(dataset="own_loaders:load", num_clients=2, num_rounds=1)).output
    code, out, err = call(capsys, folder, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["num_examples"] == 10


# ---- what cannot be evaluated ----


@pytest.fixture
def copied(digits_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(digits_run, tmp_path / "copy" / digits_run.name))


def test_a_run_without_a_model_is_one_sentence(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (copied / "model.safetensors").unlink()
    code, out, err = call(capsys, copied)
    assert (code, out) == (2, "")
    assert err == (
        f"error: run {copied} has no model.safetensors: it did not end; "
        f"finish it with `constellation demo --resume {copied}`\n"
    )


@pytest.mark.parametrize("damage", [b"", b"rubbish", b"\xff" * 100])
def test_a_damaged_model_is_one_sentence(copied: Path, capsys: pytest.CaptureFixture[str], damage: bytes) -> None:
    (copied / "model.safetensors").write_bytes(damage)
    code, out, err = call(capsys, copied)
    assert (code, out) == (1, "")
    assert f"model {copied}/model.safetensors is damaged" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("change", ["renamed", "reshaped", "bfloat16"])
def test_a_model_of_another_architecture_is_one_sentence(
    copied: Path, capsys: pytest.CaptureFixture[str], change: str
) -> None:
    path = copied / "model.safetensors"
    if change == "bfloat16":
        path.write_bytes(safetensors.torch.save({"fc.weight": torch.zeros(2, dtype=torch.bfloat16)}))
    else:
        arrays = safetensors.numpy.load(path.read_bytes())
        name, array = arrays.popitem()
        arrays |= {f"{name}.other": array} if change == "renamed" else {name: np.zeros((3, 1), np.float32)}
        path.write_bytes(safetensors.numpy.save(arrays))
    code, out, err = call(capsys, copied)
    assert (code, out) in ((1, ""), (2, ""))
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_a_run_that_is_not_there_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, "nothing", "--output", tmp_path)
    assert code == 2
    assert err.startswith(f"error: there is no run 'nothing' in {tmp_path}; ")


def test_a_data_set_that_does_not_fit_is_one_sentence(digits_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, part in (("nowhere", "unknown dataset 'nowhere'"), ("npz:/no/such.npz", "/no/such.npz")):
        code, _, err = call(capsys, digits_run, "--dataset", name)
        assert code == 2
        assert part in err
        assert err.count("\n") == 1
