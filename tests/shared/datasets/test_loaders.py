"""A person's own DataLoaders: ``f(client_id, num_clients, **kw) -> (train_loader, test_loader)``."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset

from shared.config import RunConfig
from shared.datasets.federated import FederatedData, federate
from shared.datasets.loaders import LoaderFederation
from shared.datasets.plugin_source import LoaderSource
from shared.errors import ConstellationError, DatasetError, PluginError

Batch = tuple[torch.Tensor, torch.Tensor]


def tensors(first: int, count: int, num_classes: int = 3) -> TensorDataset:
    """Example i is a 1x2x2 image of i, of class i mod num_classes."""
    numbers = torch.arange(first, first + count)
    return TensorDataset(numbers.float().reshape(-1, 1, 1, 1).expand(-1, 1, 2, 2), numbers % num_classes)


def load(client_id: int, num_clients: int, **kw: Any) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Client i has 6 + i examples and 3 for the test."""
    train = tensors(100 * client_id, 6 + client_id)
    return DataLoader(train, batch_size=4, shuffle=True), DataLoader(tensors(0, 3), batch_size=2)


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Make functions importable as ``own_loaders:NAME``."""

    def put(**functions: object) -> str:
        module = types.ModuleType("own_loaders")
        vars(module).update(functions)
        monkeypatch.setitem(__import__("sys").modules, "own_loaders", module)
        return f"own_loaders:{next(iter(functions))}"

    return put


def federation(own: Callable[..., str], function: object = load, **settings: Any) -> FederatedData:
    return federate(RunConfig(dataset=own(function=function), **settings))


def test_shape_classes_and_counts_are_found_from_the_loaders(own: Callable[..., str]) -> None:
    data = federation(own)
    assert isinstance(data, LoaderFederation)
    assert (data.name, data.input_shape, data.num_classes, data.num_clients) == (
        "own_loaders:function",
        (1, 2, 2),
        3,
        3,
    )
    assert data.class_names == ("0", "1", "2")
    assert [data.num_examples(i) for i in range(3)] == [6, 7, 8]
    # client 1 has 100..106: 100 mod 3 is 1, so 1, 2, 0, 1, 2, 0, 1
    assert data.histogram(1) == [2, 3, 2]
    assert (data.central_test, data.normalization) == (None, None)


def test_a_client_yields_its_loaders_batches(own: Callable[..., str]) -> None:
    client = federation(own).client(2)
    assert (client.num_examples, client.num_test_examples) == (8, 3)
    batches = list(client.train_batches(999, np.random.default_rng(0)))
    assert [len(labels) for _, labels in batches] == [4, 4], "the loader's own batch size"
    assert sorted(int(image[0, 0, 0]) for inputs, _ in batches for image in inputs) == list(range(200, 208))
    assert [labels.tolist() for _, labels in client.test_batches(999)] == [[0, 1], [2]]


@pytest.mark.parametrize("has_generator", [False, True])
def test_the_rounds_generator_alone_decides_the_order(own: Callable[..., str], has_generator: bool) -> None:
    """Whatever the process trained before, and even if the loader brings a generator with a state of its own."""
    generator = torch.Generator() if has_generator else None

    def shuffled(client_id: int, num_clients: int) -> tuple[object, object]:
        return DataLoader(tensors(0, 50), batch_size=50, shuffle=True, generator=generator), [next(iter(load(0, 1)[1]))]

    client = federation(own, shuffled).client(0)

    def order(seed: int) -> list[int]:
        return next(client.train_batches(1, np.random.default_rng(seed)))[0][:, 0, 0, 0].int().tolist()

    torch.manual_seed(1)
    first = order(5)
    torch.manual_seed(2)
    assert order(5) == first
    assert order(6) != first


def test_looking_at_the_data_does_not_move_torchs_generator(own: Callable[..., str]) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    federation(own).histogram(2)
    assert torch.equal(torch.get_rng_state(), before)


def test_looking_at_the_data_keeps_the_number_of_threads(own: Callable[..., str]) -> None:
    before = torch.get_num_threads()
    federation(own)
    assert torch.get_num_threads() == before


def test_pooled_loaders_hold_everybodys_examples(own: Callable[..., str]) -> None:
    pooled = federation(own).pooled()
    assert (pooled.num_examples, pooled.num_test_examples) == (21, 9)
    seen = [int(x[0, 0, 0]) for inputs, _ in pooled.train_batches(4, np.random.default_rng(0)) for x in inputs]
    assert sorted(seen) == [*range(6), *range(100, 107), *range(200, 208)]
    assert sum(len(labels) for _, labels in pooled.test_batches(4)) == 9


def test_class_names_come_from_the_data_set_where_it_has_them(own: Callable[..., str]) -> None:
    class Named(Dataset[Batch]):
        classes = ("cat", "dog", "emu", "fox")

        def __len__(self) -> int:
            return 5

        def __getitem__(self, index: int) -> Batch:
            if index >= 5:
                raise IndexError
            return torch.zeros(1, 2, 2), torch.tensor(index % 2)

    def named(client_id: int, num_clients: int) -> tuple[object, object]:
        loader = DataLoader(Subset(Named(), [0, 1, 2]), batch_size=2)
        return loader, loader

    data = federation(own, named)
    assert data.class_names == ("cat", "dog", "emu", "fox")
    assert data.histogram(0) == [2, 1, 0, 0]


def test_a_class_that_only_one_client_has_is_found(own: Callable[..., str]) -> None:
    def uneven(client_id: int, num_clients: int) -> tuple[object, object]:
        batch = (torch.zeros(2, 1, 2, 2), torch.tensor([0, client_id]))
        return [batch], [batch]

    data = federation(own, uneven, num_clients=4)
    assert data.num_classes == 4
    assert data.histogram(3) == [1, 0, 0, 1]
    assert data.histogram(0) == [2, 0, 0, 0]


def test_mappings_as_flower_datasets_yields_them_are_read(own: Callable[..., str]) -> None:
    def mapped(client_id: int, num_clients: int) -> tuple[object, object]:
        batch = {
            "img": torch.full((2, 1, 2, 2), 3, dtype=torch.uint8),
            "label": torch.tensor([0, 1], dtype=torch.int32),
        }
        return [batch], [batch]

    data = federation(own, mapped)
    inputs, labels = next(data.client(0).train_batches(2, np.random.default_rng(0)))
    assert (inputs.dtype, labels.dtype) == (torch.float32, torch.int64)


@pytest.mark.parametrize(
    "source",
    [
        "def function(client_id, num_clients): pass",
        "def function(partition_id, num_partitions=1): pass",
        "def function(who, of): pass",
        "def function(client_id, num_clients, **kw): pass",
    ],
)
def test_the_signature_tells_the_form(source: str, own: Callable[..., str]) -> None:
    from shared.datasets.catalog import load_dataset

    scope: dict[str, Any] = {}
    exec(source, scope)
    assert isinstance(load_dataset(RunConfig(dataset=own(function=scope["function"]))), LoaderSource)


def test_keyword_arguments_are_given_by_name(own: Callable[..., str]) -> None:
    calls: list[dict[str, Any]] = []

    def open_ended(client_id: int, num_clients: int, **kw: Any) -> tuple[object, object]:
        calls.append({"ids": (client_id, num_clients), **kw})
        return load(client_id, num_clients)

    def named(client_id: int, num_clients: int, batch_size: int, *, config: RunConfig, root: str = "x") -> object:
        calls.append({"batch_size": batch_size, "config": config.seed, "root": root})
        return load(client_id, num_clients)

    federation(own, open_ended, seed=9, batch_size=16, num_clients=1)
    assert calls[-1] == {"ids": (0, 1), "batch_size": 16, "seed": 9, "data_dir": ""}
    federation(own, named, seed=9, batch_size=16, num_clients=1)
    assert calls[-1] == {"batch_size": 16, "config": 9, "root": "x"}


def test_an_argument_that_is_not_offered_is_refused(own: Callable[..., str]) -> None:
    def demanding(client_id: int, num_clients: int, root: str, fold: int) -> None: ...

    with pytest.raises(PluginError, match="wants root, fold and is given client_id, num_clients"):
        federation(own, demanding)


def loaders_of(batch: object) -> Callable[[int, int], object]:
    def function(client_id: int, num_clients: int) -> object:
        return [batch], [batch]

    return function


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (lambda client_id, num_clients: None, r"must return \(train_loader, test_loader\).* got NoneType"),
        (lambda client_id, num_clients: ([], [], []), r"got tuple of \(list, list, list\)"),
        (lambda client_id, num_clients: (3, 4), r"got tuple of \(int, int\)"),
        (lambda client_id, num_clients: (iter([]), iter([])), "got tuple of"),
        (lambda client_id, num_clients: 1 / 0, "failed: ZeroDivisionError: division by zero"),
        (lambda client_id, num_clients: ([], []), "the training loader of client 0 yields no batch"),
        (loaders_of(torch.ones(3)), r"a batch must be \(inputs, labels\), two tensors.*got Tensor"),
        (loaders_of((torch.ones(3, 2), [1, 2, 3])), r"got tuple of \(Tensor, list\)"),
        (loaders_of({"audio": torch.ones(3, 2), "label": torch.ones(3)}), r"got tuple of \(NoneType, Tensor\)"),
        (loaders_of((torch.ones(3, 2), torch.ones(2, dtype=torch.int64))), r"got \(3, 2\) and int64 \(2,\)"),
        (loaders_of((torch.ones(3, 2), torch.ones(3))), r"whole-number labels .* got \(3, 2\) and float32 \(3,\)"),
        (loaders_of((torch.ones(3, 2), torch.ones(3, 2, dtype=torch.int64))), r"int64 \(3, 2\)"),
        (loaders_of((torch.ones(2, 2), torch.tensor([0, -1]))), r"class numbers from 0 up, got -1\.\.0"),
        (loaders_of((torch.ones(2, 2), torch.tensor([0, 2**40]))), "class numbers from 0 up"),
    ],
)
def test_what_is_no_pair_of_loaders_is_refused_in_one_sentence(
    own: Callable[..., str], function: object, sentence: str
) -> None:
    with pytest.raises(PluginError, match=sentence) as caught:
        federation(own, function)
    assert "own_loaders:function" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_loader_that_fails_is_reported_as_the_persons_own(own: Callable[..., str]) -> None:
    class Broken(Dataset[Batch]):
        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> Batch:
            raise OSError("disk gone")

    def broken(client_id: int, num_clients: int) -> tuple[object, object]:
        return DataLoader(Broken()), DataLoader(Broken())

    with pytest.raises(PluginError, match="failed: OSError: disk gone"):
        federation(own, broken)


def test_a_client_without_examples_is_named(own: Callable[..., str]) -> None:
    def starving(client_id: int, num_clients: int) -> tuple[object, object]:
        train, test = load(client_id, num_clients)
        return (train, test) if client_id == 0 else ([], test)

    with pytest.raises(PluginError, match="the training loader of client 1 yields no batch"):
        federation(own, starving)


def test_one_class_is_refused(own: Callable[..., str]) -> None:
    with pytest.raises(ConstellationError, match="at least 2 classes are needed"):
        federation(own, loaders_of((torch.ones(2, 2), torch.tensor([0, 0]))))


@pytest.mark.parametrize("partition_id", [-1, 3])
def test_a_partition_id_outside_the_federation_is_refused(own: Callable[..., str], partition_id: int) -> None:
    with pytest.raises(DatasetError, match=rf"partition-id {partition_id} is not in 0\.\.2"):
        federation(own).client(partition_id)


def test_one_pass_counts_a_client(own: Callable[..., str]) -> None:
    passes = 0

    class Counted(list[Batch]):
        def __iter__(self) -> Iterator[Batch]:
            nonlocal passes
            passes += 1
            return super().__iter__()

    def counted(client_id: int, num_clients: int) -> tuple[object, object]:
        batch = (torch.ones(2, 2), torch.tensor([0, 1]))
        return Counted([batch]), [batch]

    data = federation(own, counted, num_clients=1)
    seen = passes
    for _ in range(3):
        data.histogram(0)
        data.num_examples(0)
        data.client(0)
    assert passes == seen
