"""A federation over a person's own DataLoaders: ``f(client_id, num_clients, **kw) -> (train_loader, test_loader)``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, RandomSampler, SequentialSampler

from shared.config import RunConfig
from shared.datasets.client_data import ClientData
from shared.datasets.dataset import Normalization
from shared.datasets.plugin_source import Batches, LoaderSource, describe
from shared.errors import ConstellationError, DatasetError, PluginError

_INPUT_KEYS = ("image", "img", "inputs", "input", "x", "features", "pixel_values")
_LABEL_KEYS = ("label", "labels", "target", "targets", "y", "fine_label")
_MAX_CLASSES = 100_000  # a label beyond this is no class number: it would only make a histogram as large


class LoaderClientData:
    """One client's DataLoaders, as they are: their batch size, their order, their augmentation.

    Only the chance in them is ours: torch's global generator and the loader's own are seeded from the round's generator
    at each epoch, so that a result does not depend on which process trained whom before.
    """

    def __init__(self, name: str, train: Batches, test: Batches, num_examples: int, num_test_examples: int) -> None:
        """Take the loaders and how many examples a pass over each gives."""
        self._name = name
        self._train = train
        self._test = test
        self._num_examples = num_examples
        self._num_test_examples = num_test_examples

    @property
    def num_examples(self) -> int:
        """How many training examples one pass over the loader gives."""
        return self._num_examples

    @property
    def num_test_examples(self) -> int:
        """How many test examples one pass over the loader gives."""
        return self._num_test_examples

    def train_batches(self, batch_size: int, rng: np.random.Generator) -> Iterator[tuple[Tensor, Tensor]]:  # noqa: ARG002 - the loader has its own
        """Yield one pass over the training loader, which has its own batch size."""
        _seed_loader(self._train, int(rng.integers(2**63)))
        yield from _tensor_batches(self._name, self._train)

    def test_batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:  # noqa: ARG002 - the loader has its own
        """Yield one pass over the test loader."""
        _seed_loader(self._test, 0)
        yield from _tensor_batches(self._name, self._test)


def has_own_sampler(data: ClientData) -> bool:
    """Tell whether a person's loader chooses examples in its own way: privacy has to choose them itself."""
    if not isinstance(data, LoaderClientData):
        return False
    sampler = getattr(data._train, "sampler", None)
    batch_sampler = getattr(data._train, "batch_sampler", None)
    usual = (
        sampler is None
        or type(sampler) is SequentialSampler
        or (type(sampler) is RandomSampler and not sampler.replacement)
    )
    return not usual or type(batch_sampler) not in (type(None), BatchSampler)


class PooledClientData:
    """Several clients' data as one client's, one after the other."""

    def __init__(self, clients: list[ClientData]) -> None:
        """Take the clients."""
        self._clients = clients

    @property
    def num_examples(self) -> int:
        """How many training examples all have."""
        return sum(client.num_examples for client in self._clients)

    @property
    def num_test_examples(self) -> int:
        """How many test examples all have."""
        return sum(client.num_test_examples for client in self._clients)

    def train_batches(self, batch_size: int, rng: np.random.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield each client's epoch, the clients in random order."""
        for index in rng.permutation(len(self._clients)):
            yield from self._clients[index].train_batches(batch_size, rng)

    def test_batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield each client's test batches."""
        for client in self._clients:
            yield from client.test_batches(batch_size)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Counts:
    """What one pass over a client's loaders showed."""

    train: tuple[int, ...]  # examples by class, as far as the highest label
    test: tuple[int, ...]


class LoaderFederation:
    """Clients whose data comes from a person's own DataLoaders.

    The shape and the classes are found from the data: the names from the training data set's ``classes`` where it has
    them, else by one pass over every client's loaders. There is no central test set.
    """

    def __init__(self, source: LoaderSource, config: RunConfig) -> None:
        """Look at the first client's data.

        Raises:
            PluginError: The function fails or its loaders do not yield (inputs, labels).
        """
        self._source = source
        self._num_clients = config.num_clients
        self._counts: dict[int, _Counts] = {}
        train, _ = source.loaders(0, self._num_clients)
        with _one_thread():
            first = next(_tensor_batches(source.name, train), None)
        if first is None:
            raise PluginError(f"dataset {source.name!r}: the training loader of client 0 yields no batch")
        self._input_shape = tuple(first[0].shape[1:])
        self._class_names = _declared_classes(train) or self._seen_classes()
        if len(self._class_names) < 2:
            raise PluginError(f"dataset {source.name!r}: at least 2 classes are needed, got {list(self._class_names)}")

    @property
    def name(self) -> str:
        """The function's name."""
        return self._source.name

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one input."""
        return self._input_shape

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name a class."""
        return self._class_names

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self._class_names)

    @property
    def num_clients(self) -> int:
        """How many clients there are."""
        return self._num_clients

    @property
    def normalization(self) -> Normalization | None:
        """Not known: the loaders do it themselves."""
        return None

    @property
    def central_test(self) -> tuple[Tensor, Tensor] | None:
        """None: each client tests on its own loader."""
        return None

    def num_examples(self, partition_id: int) -> int:
        """Return how many training examples a client has; the first call passes over its loaders once."""
        return sum(self._count(partition_id).train)

    def histogram(self, partition_id: int) -> list[int]:
        """Return a client's training examples by class; the first call passes over its loaders once."""
        counts = self._count(partition_id).train
        return [*counts, *[0] * (self.num_classes - len(counts))]

    def client(self, partition_id: int) -> ClientData:
        """Return a client's loaders as client data."""
        counts = self._count(partition_id)
        train, test = self._source.loaders(partition_id, self._num_clients)
        return LoaderClientData(self.name, train, test, sum(counts.train), sum(counts.test))

    def pooled(self) -> ClientData:
        """Return everybody's loaders, one after the other."""
        return PooledClientData([self.client(partition_id) for partition_id in range(self._num_clients)])

    def _seen_classes(self) -> tuple[str, ...]:
        counts = [self._count(partition_id) for partition_id in range(self._num_clients)]
        highest = max(max(len(count.train), len(count.test)) for count in counts)
        return tuple(str(label) for label in range(highest))

    def _count(self, partition_id: int) -> _Counts:
        if not 0 <= partition_id < self._num_clients:
            raise DatasetError(f"partition-id {partition_id} is not in 0..{self._num_clients - 1}")
        if partition_id not in self._counts:
            train, test = self._source.loaders(partition_id, self._num_clients)
            with _one_thread():
                self._counts[partition_id] = _Counts(
                    train=_label_counts(self.name, train), test=_label_counts(self.name, test)
                )
            if not sum(self._counts[partition_id].train):
                raise PluginError(
                    f"dataset {self.name!r}: the training loader of client {partition_id} yields no batch"
                )
        return self._counts[partition_id]


def _declared_classes(loader: Batches) -> tuple[str, ...]:
    """Find class names on the loader's data set, looking through ``Subset`` and its like; () if there are none."""
    found: object = getattr(loader, "dataset", None)
    while found is not None:
        classes = getattr(found, "classes", None)
        if isinstance(classes, (list, tuple)) and len(classes) >= 2:
            return tuple(str(name) for name in classes)
        found = getattr(found, "dataset", None)
    return ()


def _own_batches(name: str, loader: Batches) -> Iterator[object]:
    try:
        yield from loader
    except ConstellationError:
        raise
    except Exception as error:  # a person's own code, which may fail in any way: it is their code we report on
        raise PluginError(f"dataset {name!r} failed: {type(error).__name__}: {error}") from error


def _tensor_batches(name: str, loader: Batches) -> Iterator[tuple[Tensor, Tensor]]:
    for batch in _own_batches(name, loader):
        inputs, labels = _pair(name, batch)
        if len(inputs) != len(labels) or labels.ndim != 1 or inputs.ndim < 2 or labels.is_floating_point():
            raise PluginError(
                f"dataset {name!r}: a batch must be inputs (b, ...) and whole-number labels (b,), got "
                f"{tuple(inputs.shape)} and {str(labels.dtype).removeprefix('torch.')} {tuple(labels.shape)}"
            )
        yield inputs.to(torch.float32), labels.to(torch.int64)


def _pair(name: str, batch: object) -> tuple[Tensor, Tensor]:
    if isinstance(batch, Mapping):
        inputs = next((batch[key] for key in _INPUT_KEYS if key in batch), None)
        labels = next((batch[key] for key in _LABEL_KEYS if key in batch), None)
        batch = (inputs, labels)
    if not isinstance(batch, (tuple, list)) or len(batch) != 2 or not all(isinstance(part, Tensor) for part in batch):
        raise PluginError(
            f"dataset {name!r}: a batch must be (inputs, labels), two tensors, or a mapping with one of "
            f"{', '.join(_INPUT_KEYS[:4])} and one of {', '.join(_LABEL_KEYS[:4])}, got {describe(batch)}"
        )
    return batch[0], batch[1]


def _label_counts(name: str, loader: Batches) -> tuple[int, ...]:
    counts = np.zeros(0, dtype=np.int64)
    for _, labels in _tensor_batches(name, loader):
        values = labels.numpy()
        if len(values) and (values.min() < 0 or values.max() >= _MAX_CLASSES):
            raise PluginError(
                f"dataset {name!r}: labels must be class numbers from 0 up, got {values.min()}..{values.max()}"
            )
        more = np.bincount(values, minlength=len(counts))
        more[: len(counts)] += counts
        counts = more
    return tuple(int(count) for count in counts)


def _seed_loader(loader: Batches, seed: int) -> None:
    torch.manual_seed(seed)
    for owner in (loader, getattr(loader, "sampler", None)):
        generator = getattr(owner, "generator", None)
        if isinstance(generator, torch.Generator):
            generator.manual_seed(seed)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Look at data without starting torch's threads (workers are forked later) or moving its global generator."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(before)
