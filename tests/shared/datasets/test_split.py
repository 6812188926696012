"""Classes from labels, a stratified split, and normal ranges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.datasets.split import encode_labels, image_normalization, standardise, stratified_split
from shared.errors import DatasetError


def test_labels_are_numbered_in_sorted_order_over_both_parts() -> None:
    names, train, test = encode_labels(np.array(["dog", "cat", "dog"]), np.array(["ant"]))
    assert (names, train.tolist(), test.tolist()) == (("ant", "cat", "dog"), [2, 1, 2], [0])


@given(labels=st.lists(st.integers(0, 4), min_size=2, max_size=80), seed=st.integers(0, 2**32 - 1))
def test_each_index_lands_once_and_a_fifth_of_each_class_is_tested(labels: list[int], seed: int) -> None:
    numbers = np.array(labels)
    counts = np.bincount(numbers, minlength=5)
    if counts.max() < 2:
        with pytest.raises(DatasetError, match="own: no class has two examples"):
            stratified_split(numbers, 5, seed, where="own")
        return
    train, test = stratified_split(numbers, 5, seed, where="own")
    assert sorted([*train, *test]) == list(range(len(labels)))
    for count, tested in zip(counts, np.bincount(numbers[test], minlength=5), strict=True):
        assert tested == 0 if count < 2 else tested >= 1
        assert abs(tested - count / 5) <= 0.8, "a fifth, to the nearest whole; one of two"
        assert count == 0 or tested < count, "no class is only tested"


def test_image_statistics_equal_numpys_own() -> None:
    images = np.random.default_rng(0).integers(0, 256, size=(50, 3, 5, 4), dtype=np.uint8)
    found = image_normalization(images)
    np.testing.assert_allclose(found.mean, (images / 255).mean(axis=(0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(found.std, (images / 255).std(axis=(0, 2, 3)), rtol=1e-12)


def test_standardising_uses_the_training_parts_figures() -> None:
    """Columns 1, 3 (mean 2, deviation 1) and 5, 5 (constant)."""
    train = np.array([[1, 5], [3, 5]], dtype=np.float32)
    test = np.array([[4, 6]], dtype=np.float32)
    standardise(train, test, axis=(0,))
    assert train.tolist() == [[-1, 0], [1, 0]]
    assert test.tolist() == [[2, 1]]


def test_a_large_constant_is_not_taken_for_variation() -> None:
    train = np.full((7, 1), 16_777_217.3, dtype=np.float32)
    test = train[:1].copy()
    standardise(train, test, axis=(0,))
    assert np.abs(train).max() == 0
    assert np.abs(test).max() == 0
