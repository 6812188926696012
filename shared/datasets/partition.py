"""How a data set's examples are spread over clients: Dirichlet, iid or shards.

Each index lands at exactly one client, each client has at least the minimum, and the same generator state gives the
same partition. A partition is one array of owners turned into one array of indices and its offsets, so that 10,000
clients cost no more than ten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from shared.config import RunConfig
from shared.errors import DatasetError

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Partition:
    """Indices by client, readable like a list of arrays.

    Attributes:
        order: int64 (n,), all indices, client by client, ascending within a client.
        offsets: int64 (num_clients + 1,); client i owns ``order[offsets[i]:offsets[i + 1]]``.
    """

    order: Indices
    offsets: Indices

    @property
    def sizes(self) -> Indices:
        """Examples by client, int64 (num_clients,)."""
        return np.diff(self.offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, client: int) -> Indices:
        if not 0 <= client < len(self):
            raise IndexError(client)
        return self.order[self.offsets[client] : self.offsets[client + 1]]

    def __iter__(self) -> Iterator[Indices]:
        return (self[client] for client in range(len(self)))


def partition_indices(config: RunConfig, labels: Indices, num_classes: int, rng: np.random.Generator) -> Partition:
    """Spread ``range(len(labels))`` over ``config.num_clients`` clients as ``config.partition`` says.

    Args:
        config: ``partition``, ``num_clients``, ``alpha``, ``min_partition_size`` and ``shards_per_client`` are read.
        labels: int64 (n,), each in 0..num_classes-1.
        num_classes: How many classes there are.
        rng: Where all chance comes from.

    Raises:
        DatasetError: There are too few examples for so many clients.
    """
    _require_enough(len(labels), config.num_clients, config.min_partition_size)
    owners = PARTITIONERS[config.partition](config, labels, num_classes, rng)
    return by_owner(repair_minimum(owners, config.num_clients, config.min_partition_size, rng), config.num_clients)


def by_owner(owners: Indices, num_clients: int) -> Partition:
    """Turn the owner of each index, int64 (n,), into each owner's indices."""
    sizes = np.bincount(owners, minlength=num_clients)
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return Partition(order=np.argsort(owners, kind="stable").astype(np.int64, copy=False), offsets=offsets)


def dirichlet_owners(
    labels: Indices, num_classes: int, num_clients: int, alpha: float, rng: np.random.Generator
) -> Indices:
    """Give each class's examples to clients in proportions drawn from Dirichlet(alpha).

    Hsu, Qi and Brown, 2019 (arXiv:1909.06335), sec. 2, with one draw a class as in Yurochkin et al., ICML 2019,
    sec. 4; small ``alpha`` gives most of a class to few clients, large ``alpha`` an even spread.
    """
    owners = np.empty(len(labels), dtype=np.int64)
    shuffled = rng.permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    ends = np.cumsum(np.bincount(labels, minlength=num_classes))
    for first, end in zip(np.concatenate([[0], ends[:-1]]), ends, strict=True):
        shares = dirichlet_shares(num_clients, alpha, rng)
        cuts = np.rint(np.cumsum(shares)[:-1] * (end - first)).astype(np.int64)
        owners[by_class[first:end]] = np.searchsorted(cuts, np.arange(end - first), side="right")
    return owners


def dirichlet_shares(num_clients: int, alpha: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw float64 (num_clients,) from the symmetric Dirichlet(alpha); the shares sum to 1.

    A Dirichlet draw is Gamma(alpha) draws over their sum, and Gamma(alpha) = Gamma(alpha + 1) * U**(1/alpha) (Marsaglia
    and Tsang 2000, sec. 6): in logarithms that neither underflows to 0/0 for a tiny alpha nor overflows for a huge one.
    """
    log_gamma = np.log(rng.standard_gamma(alpha + 1, size=num_clients))
    log_uniform = np.log1p(-rng.random(num_clients))  # of 1 - U: U can be 0 and is never 1
    with np.errstate(over="ignore"):  # -inf is right: that client's share is 0
        logs = log_gamma + (log_uniform - log_uniform.max()) / alpha
    weights = np.exp(logs - logs.max())
    return np.asarray(weights / weights.sum())


def iid_owners(num_examples: int, num_clients: int, rng: np.random.Generator) -> Indices:
    """Deal the shuffled examples evenly; sizes differ by at most one."""
    owners = np.empty(num_examples, dtype=np.int64)
    owners[rng.permutation(num_examples)] = _even_blocks(num_examples, num_clients)
    return owners


def shard_owners(labels: Indices, num_clients: int, shards_per_client: int, rng: np.random.Generator) -> Indices:
    """Sort by label, cut into even shards and deal each client ``shards_per_client`` of them.

    McMahan et al., AISTATS 2017, sec. 3 ("pathological non-IID").

    Raises:
        DatasetError: There are more shards than examples.
    """
    num_shards = num_clients * shards_per_client
    if num_shards > len(labels):
        raise DatasetError(
            f"num-clients {num_clients} x shards-per-client {shards_per_client} makes {num_shards} shards of "
            f"{len(labels)} training examples; lower one of them or use --partition iid"
        )
    shuffled = rng.permutation(len(labels))
    by_label = shuffled[np.argsort(labels[shuffled], kind="stable")]
    owner_of_shard = rng.permutation(np.repeat(np.arange(num_clients), shards_per_client))
    owners = np.empty(len(labels), dtype=np.int64)
    owners[by_label] = owner_of_shard[_even_blocks(len(labels), num_shards)]
    return owners


def repair_minimum(owners: Indices, num_clients: int, minimum: int, rng: np.random.Generator) -> Indices:
    """Move as few examples as possible until each client has ``minimum``: from the largest clients to the smallest.

    Equal to moving one random example at a time from the currently largest client, worked out at once: donors come down
    to a common level. The caller made sure that ``num_clients * minimum`` examples exist.
    """
    sizes = np.bincount(owners, minlength=num_clients)
    missing = np.maximum(minimum - sizes, 0)
    if not missing.any():
        return owners
    surplus = _surplus(sizes, int(missing.sum()))
    shuffled = rng.permutation(len(owners))
    order = shuffled[np.argsort(owners[shuffled], kind="stable")]  # client by client, in random order within one
    starts = np.cumsum(sizes) - sizes
    place = np.arange(len(owners)) - starts[owners[order]]
    moved = order[place < surplus[owners[order]]]
    repaired = owners.copy()
    repaired[moved] = np.repeat(np.arange(num_clients), missing)
    return repaired


def _surplus(sizes: Indices, wanted: int) -> Indices:
    """Say how many examples each client gives so that ``wanted`` come together and the givers end level."""
    low, high = 0, int(sizes.max())
    while high - low > 1:  # the highest level at which enough is given lies in [low, high)
        level = (low + high) // 2
        if np.maximum(sizes - level, 0).sum() >= wanted:
            low = level
        else:
            high = level
    surplus = np.maximum(sizes - low, 0)
    givers = np.flatnonzero(surplus)
    too_many = int(surplus.sum()) - wanted
    surplus[givers[np.argsort(sizes[givers], kind="stable")][:too_many]] -= 1
    return surplus


def split_like(train: Partition, train_labels: Indices, test_labels: Indices, num_classes: int) -> Partition:
    """Spread the test examples so that a client's share of a class follows its share of that class in training.

    Within a class, the test examples are laid along the training examples (sorted by client) at even distances and each
    takes the owner it meets: shares are right to within one example, and each test index lands once. A class that
    training lacks follows the clients' sizes. A client may get no test example.
    """
    owner_of_place = np.repeat(np.arange(len(train)), train.sizes)
    labels_by_client = train_labels[train.order]
    owners = np.empty(len(test_labels), dtype=np.int64)
    for label in range(num_classes):
        tests = np.flatnonzero(test_labels == label)
        line = owner_of_place[labels_by_client == label]
        line = line if len(line) else owner_of_place
        owners[tests] = line[(2 * np.arange(len(tests)) + 1) * len(line) // (2 * max(1, len(tests)))]
    return by_owner(owners, len(train))


def _even_blocks(num_examples: int, num_blocks: int) -> Indices:
    """Number the places 0..n-1 by block; the first blocks are one longer where it does not divide."""
    sizes = np.full(num_blocks, num_examples // num_blocks)
    sizes[: num_examples % num_blocks] += 1
    return np.repeat(np.arange(num_blocks), sizes)


def _require_enough(num_examples: int, num_clients: int, minimum: int) -> None:
    if num_clients > num_examples:
        raise DatasetError(
            f"num-clients {num_clients} is more than the {num_examples} training examples; "
            f"lower --num-clients to at most {num_examples} or take a larger dataset"
        )
    if num_clients * minimum > num_examples:
        raise DatasetError(
            f"num-clients {num_clients} x min-partition-size {minimum} needs {num_clients * minimum} training examples "
            f"and there are {num_examples}; lower one of them or take a larger dataset"
        )


Partitioner = Callable[[RunConfig, Indices, int, np.random.Generator], Indices]
PARTITIONERS: Mapping[str, Partitioner] = MappingProxyType(
    {
        "dirichlet": lambda c, labels, classes, rng: dirichlet_owners(labels, classes, c.num_clients, c.alpha, rng),
        "iid": lambda c, labels, _classes, rng: iid_owners(len(labels), c.num_clients, rng),
        "shard": lambda c, labels, _classes, rng: shard_owners(labels, c.num_clients, c.shards_per_client, rng),
    }
)
