"""Partitions: each index once, each client its minimum, and the distributions their papers define."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.config import RunConfig
from shared.datasets.partition import (
    Partition,
    by_owner,
    dirichlet_owners,
    dirichlet_shares,
    iid_owners,
    partition_indices,
    repair_minimum,
    shard_owners,
    split_like,
)
from shared.errors import DatasetError


def rng_of(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@st.composite
def federations(draw: st.DrawFn) -> tuple[RunConfig, np.ndarray, int]:
    num_clients = draw(st.integers(1, 40))
    minimum = draw(st.integers(1, 4))
    shards = draw(st.integers(1, 3))
    num_examples = draw(st.integers(num_clients * max(minimum, shards), 300))
    num_classes = draw(st.integers(2, 12))
    labels = np.array(draw(st.lists(st.integers(0, num_classes - 1), min_size=num_examples, max_size=num_examples)))
    config = RunConfig(
        partition=draw(st.sampled_from(["dirichlet", "iid", "shard"])),
        alpha=draw(st.sampled_from([1e-320, 1e-9, 0.001, 0.05, 0.5, 1.0, 100.0, 1e18])),
        num_clients=num_clients,
        min_partition_size=minimum,
        shards_per_client=shards,
    )
    return config, labels, num_classes


@given(federation=federations(), seed=st.integers(0, 2**32 - 1))
def test_each_index_lands_once_and_each_client_has_its_minimum(
    federation: tuple[RunConfig, np.ndarray, int], seed: int
) -> None:
    config, labels, num_classes = federation
    parts = partition_indices(config, labels, num_classes, rng_of(seed))
    assert len(parts) == config.num_clients
    assert min(len(part) for part in parts) >= config.min_partition_size
    assert sorted(np.concatenate(list(parts)).tolist()) == list(range(len(labels)))
    assert parts.sizes.tolist() == [len(part) for part in parts]


@given(federation=federations(), seed=st.integers(0, 2**32 - 1))
def test_the_same_generator_state_gives_the_same_partition(
    federation: tuple[RunConfig, np.ndarray, int], seed: int
) -> None:
    config, labels, num_classes = federation
    first = partition_indices(config, labels, num_classes, rng_of(seed))
    second = partition_indices(config, labels, num_classes, rng_of(seed))
    np.testing.assert_array_equal(first.order, second.order)
    np.testing.assert_array_equal(first.offsets, second.offsets)


def test_another_seed_gives_another_partition() -> None:
    labels = np.arange(100) % 10
    one, other = (partition_indices(RunConfig(), labels, 10, rng_of(seed)) for seed in (1, 2))
    assert one.order.tolist() != other.order.tolist()


def test_a_partition_reads_like_a_list_of_arrays() -> None:
    parts = by_owner(np.array([1, 0, 1, 3]), 4)
    assert [part.tolist() for part in parts] == [[1], [0, 2], [], [3]]
    assert parts[1].tolist() == [0, 2]
    for outside in (-1, 4):
        with pytest.raises(IndexError):
            parts[outside]


def test_iid_sizes_differ_by_at_most_one() -> None:
    parts = by_owner(iid_owners(11, 4, rng_of()), 4)
    assert sorted(parts.sizes.tolist()) == [2, 3, 3, 3]


def test_iid_gives_every_client_about_the_same_share_of_a_class() -> None:
    labels = np.arange(20_000) % 10
    parts = by_owner(iid_owners(len(labels), 10, rng_of()), 10)
    counts = np.array([np.bincount(labels[part], minlength=10) for part in parts])
    # hypergeometric: 2,000 draws of 20,000, a tenth of them this class: deviation 12.7; five of them
    assert np.abs(counts - 200).max() < 64


def test_dirichlet_shares_have_the_moments_of_the_distribution() -> None:
    """For the symmetric Dirichlet(a) over k: mean 1/k, variance (1/k)(1 - 1/k)/(k a + 1)."""
    k, alpha, draws = 5, 0.3, 20_000
    rng = rng_of()
    shares = np.stack([dirichlet_shares(k, alpha, rng) for _ in range(draws)])
    np.testing.assert_allclose(shares.sum(axis=1), 1.0, rtol=1e-12)
    np.testing.assert_allclose(shares.mean(axis=0), 0.2, atol=0.01)  # standard error 0.0018
    np.testing.assert_allclose(shares.var(axis=0), 0.2 * 0.8 / 2.5, atol=0.003)  # 0.064


def test_dirichlet_shares_agree_with_numpys_own() -> None:
    """The share of the largest client, a figure the moments do not fix, against an independent implementation."""
    rng, other = rng_of(1), rng_of(2)
    ours = np.mean([dirichlet_shares(10, 0.5, rng).max() for _ in range(4_000)])
    theirs = other.dirichlet([0.5] * 10, size=4_000).max(axis=1).mean()
    assert ours == pytest.approx(theirs, abs=0.015)


@pytest.mark.parametrize("alpha", [5e-324, 1e-300, 1e-9])
def test_a_tiny_alpha_gives_a_class_to_one_client(alpha: float) -> None:
    labels = np.zeros(50, dtype=np.int64)
    owners = dirichlet_owners(labels, 1, 20, alpha, rng_of())
    assert len(set(owners.tolist())) == 1


@pytest.mark.parametrize("alpha", [1e12, 1e300, 1.7e308])
def test_a_huge_alpha_spreads_a_class_evenly(alpha: float) -> None:
    labels = np.zeros(1_000, dtype=np.int64)
    sizes = np.bincount(dirichlet_owners(labels, 1, 10, alpha, rng_of()), minlength=10)
    assert np.abs(sizes - 100).max() <= 1


def test_a_smaller_alpha_is_more_skewed() -> None:
    labels = np.arange(5_000) % 10

    def largest_class_share(alpha: float) -> float:
        config = RunConfig(num_clients=20, alpha=alpha)
        parts = partition_indices(config, labels, 10, rng_of(3))
        return float(np.mean([np.bincount(labels[part]).max() / len(part) for part in parts]))

    assert largest_class_share(0.05) > largest_class_share(0.5) > largest_class_share(5.0) > largest_class_share(500.0)


def test_shards_are_dealt_as_mcmahan_et_al_do() -> None:
    """12 examples of 3 classes, 3 clients of 2 shards: 6 shards of 2, each of one class."""
    labels = np.repeat(np.arange(3), 4)
    parts = by_owner(shard_owners(labels, 3, 2, rng_of()), 3)
    assert parts.sizes.tolist() == [4, 4, 4]
    assert all(set(np.bincount(labels[part], minlength=3).tolist()) <= {0, 2, 4} for part in parts)


def test_more_shards_than_examples_are_refused() -> None:
    config = RunConfig(partition="shard", num_clients=4, shards_per_client=3)
    with pytest.raises(DatasetError, match=r"num-clients 4 x shards-per-client 3 makes 12 shards of 10 training"):
        partition_indices(config, np.arange(10), 10, rng_of())


def test_more_clients_than_examples_are_refused() -> None:
    with pytest.raises(
        DatasetError, match=r"num-clients 11 is more than the 10 training examples; lower --num-clients"
    ):
        partition_indices(RunConfig(num_clients=11), np.arange(10), 10, rng_of())


def test_a_minimum_that_cannot_be_met_is_refused() -> None:
    config = RunConfig(num_clients=5, min_partition_size=3)
    with pytest.raises(DatasetError, match="num-clients 5 x min-partition-size 3 needs 15 training examples"):
        partition_indices(config, np.arange(10), 10, rng_of())


def test_as_many_clients_as_examples_get_one_each() -> None:
    parts = partition_indices(RunConfig(num_clients=10, alpha=1e-9), np.zeros(10, dtype=np.int64), 2, rng_of())
    assert parts.sizes.tolist() == [1] * 10


def moved_one_at_a_time(sizes: list[int], minimum: int) -> list[int]:
    """Do the repair by its definition: from the largest to the first that lacks, until none lacks."""
    sizes = list(sizes)
    while min(sizes) < minimum:
        sizes[sizes.index(max(sizes))] -= 1
        sizes[next(i for i, size in enumerate(sizes) if size < minimum)] += 1
    return sizes


@given(
    sizes=st.lists(st.integers(0, 30), min_size=1, max_size=12),
    minimum=st.integers(1, 5),
    seed=st.integers(0, 1_000),
)
def test_repair_ends_as_moving_one_example_at_a_time_would(sizes: list[int], minimum: int, seed: int) -> None:
    if sum(sizes) < len(sizes) * minimum:
        sizes = [size + minimum for size in sizes]
    owners = rng_of(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    repaired = repair_minimum(owners, len(sizes), minimum, rng_of(seed))
    after = np.bincount(repaired, minlength=len(sizes)).tolist()
    assert sorted(after) == sorted(moved_one_at_a_time(sizes, minimum))
    num_missing = sum(max(minimum - size, 0) for size in sizes)
    assert int((repaired != owners).sum()) == num_missing, "no example moves that need not"
    assert all(new >= old for old, new in zip(sizes, after, strict=True) if old <= minimum)


def test_repair_leaves_a_partition_alone_that_has_its_minimum() -> None:
    owners = np.array([0, 1, 1, 2])
    assert repair_minimum(owners, 3, 1, rng_of()) is owners


def test_test_examples_follow_the_training_shares_by_class() -> None:
    """Class 0: clients have 1, 3 of 4; class 1: all at client 1. Of 8 and 2 test examples: (2, 6) and (0, 2)."""
    train_labels = np.array([0, 0, 0, 0, 1, 1])
    train = by_owner(np.array([0, 1, 1, 1, 1, 1]), 2)
    test_labels = np.array([0] * 8 + [1] * 2)
    parts = split_like(train, train_labels, test_labels, 2)
    counts = [np.bincount(test_labels[part], minlength=2).tolist() for part in parts]
    assert counts == [[2, 0], [6, 2]]


def test_a_test_class_without_training_examples_follows_the_sizes() -> None:
    train = by_owner(np.array([0, 1, 1, 1]), 2)
    parts = split_like(train, np.zeros(4, dtype=np.int64), np.ones(8, dtype=np.int64), 2)
    assert parts.sizes.tolist() == [2, 6]


@given(federation=federations(), seed=st.integers(0, 1_000), num_test=st.integers(1, 60))
def test_each_test_index_lands_once_and_shares_are_right_to_within_one(
    federation: tuple[RunConfig, np.ndarray, int], seed: int, num_test: int
) -> None:
    config, labels, num_classes = federation
    train = partition_indices(config, labels, num_classes, rng_of(seed))
    test_labels = rng_of(seed).integers(0, num_classes, num_test)
    parts = split_like(train, labels, test_labels, num_classes)
    assert sorted(np.concatenate(list(parts)).tolist()) == list(range(num_test))
    for label in np.unique(labels):
        shares = np.array([(labels[part] == label).sum() for part in train]) / (labels == label).sum()
        got = np.array([(test_labels[part] == label).sum() for part in parts])
        assert np.abs(got - shares * (test_labels == label).sum()).max() <= 1 + 1e-9


@pytest.mark.parametrize(("num_clients", "num_examples"), [(1_000, 60_000), (10_000, 100_000)])
@pytest.mark.parametrize("alpha", [0.001, 0.5])
def test_many_clients_cost_little_time_and_memory(num_clients: int, num_examples: int, alpha: float) -> None:
    labels = rng_of().integers(0, 10, num_examples)
    config = RunConfig(num_clients=num_clients, alpha=alpha)
    start = time.process_time()
    parts = partition_indices(config, labels, 10, rng_of())
    assert time.process_time() - start < 0.5  # CPU seconds; about 0.02 on the machine it was written on
    assert isinstance(parts, Partition)
    assert parts.order.nbytes + parts.offsets.nbytes == 8 * (num_examples + num_clients + 1)
    assert len(np.unique(parts.order)) == num_examples
