"""Data sets by name, and a person's own code by ``pkg.mod:attr``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from shared.config import RunConfig
from shared.datasets.catalog import DATASETS, SOURCES, load_dataset
from shared.datasets.dataset import Dataset
from shared.errors import ConstellationError, DatasetError, PluginError

PLUGIN = """
import torch
from shared.datasets.dataset import Dataset
from shared.errors import DatasetError

calls = []

def make(name="own"):
    inputs = torch.arange(8, dtype=torch.float32).reshape(4, 2)
    labels = torch.tensor([0, 1, 0, 1])
    return Dataset(name=name, train_inputs=inputs, train_labels=labels, test_inputs=inputs, test_labels=labels,
                   class_names=("a", "b"))

ready = make("ready")
number = 7

def plain():
    return make()

def configured(config):
    return make(f"seed {config.seed}")

def optional(root="there", *, config=None):
    return make(f"{root} {config.seed}")

class Callable:
    def __call__(self):
        return make("called")

instance = Callable()

def wrong():
    return [1, 2]

def fails():
    raise RuntimeError("no such table")

def says():
    raise DatasetError("own: the table is empty; fill it")

def needs(root):
    return make()
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"own_data_{abs(hash(str(tmp_path)))}"
    (tmp_path / f"{name}.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def load(name: str, **settings: int) -> Dataset:
    found = load_dataset(RunConfig(dataset=name, **settings))
    assert isinstance(found, Dataset)
    return found


def test_the_names_are_the_documented_ones() -> None:
    assert list(DATASETS) == ["mnist-sample", "mnist", "fashion-mnist", "cifar10", "synthetic"]
    assert list(SOURCES) == ["folder", "npz", "csv"]


@pytest.mark.parametrize("name", ["mnist_sample", "MNIST-Sample", "mnist-sampel"])
def test_an_unknown_name_is_refused_with_the_nearest_one(name: str) -> None:
    with pytest.raises(DatasetError, match=f"unknown dataset '{name}'; did you mean mnist-sample\\? Choose one of"):
        load(name)


def test_an_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(
        DatasetError, match=r"unknown dataset 'xyzzy'; choose one of .*cifar10.*folder:PATH.*pkg\.mod:attr"
    ):
        load("xyzzy")


@pytest.mark.parametrize("prefix", ["folder", "npz", "csv"])
def test_a_source_without_a_path_is_refused(prefix: str) -> None:
    with pytest.raises(DatasetError, match=f"names no path; write {prefix}:PATH"):
        load(f"{prefix}:")


def test_a_path_that_looks_like_a_plugin_is_a_path() -> None:
    with pytest.raises(DatasetError, match="folder images is not there"):
        load("folder:images")


def test_a_path_may_begin_with_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "own.csv").write_text("a,label\n" + "".join(f"{i},{i % 2}\n" for i in range(10)))
    assert load("csv:~/own.csv").input_shape == (1, 1, 1)


@pytest.mark.parametrize(
    ("attribute", "name"),
    [
        ("plain", "own"),
        ("configured", "seed 5"),
        ("optional", "there 5"),
        ("ready", "ready"),
        ("instance", "called"),
        ("Callable", None),
    ],
)
def test_a_function_of_ones_own_returns_the_data_set(plugin: str, attribute: str, name: str | None) -> None:
    if name is None:
        with pytest.raises(PluginError, match=r"must return a shared\.datasets\.dataset\.Dataset, got Callable"):
            load(f"{plugin}:{attribute}")
    else:
        assert load(f"{plugin}:{attribute}", seed=5).name == name


@pytest.mark.parametrize(
    ("attribute", "sentence"),
    [
        ("number", "must be a function that returns a Dataset, got int"),
        (
            "wrong",
            r"must return a shared\.datasets\.dataset\.Dataset, got list of \(int, int\); a function that returns",
        ),
        ("fails", "failed: RuntimeError: no such table"),
        ("needs", r"failed: TypeError: .*missing 1 required positional argument: 'root'"),
        ("missing", "has no 'missing'"),
    ],
)
def test_anything_else_is_refused_in_one_sentence(plugin: str, attribute: str, sentence: str) -> None:
    with pytest.raises(PluginError, match=sentence) as caught:
        load(f"{plugin}:{attribute}")
    assert f"{plugin}:{attribute}" in str(caught.value)


def test_a_data_sets_own_error_is_passed_on(plugin: str) -> None:
    with pytest.raises(DatasetError, match=r"^own: the table is empty; fill it$"):
        load(f"{plugin}:says")


def test_a_module_that_is_not_there_is_named() -> None:
    with pytest.raises(ConstellationError, match="importing 'no_such_module' failed"):
        load("no_such_module:data")


def test_importing_the_catalog_does_not_import_torchvision_or_rich() -> None:
    """torchvision costs a second and 166 MB that the default data set does not need."""
    code = (
        "import sys; from shared.datasets.federated import federate; from shared.config import RunConfig;"
        "federate(RunConfig());"
        "print(sorted({'torchvision', 'torch._dynamo'} & set(sys.modules)))"
    )
    root = Path(__file__).resolve().parents[3]
    found = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
