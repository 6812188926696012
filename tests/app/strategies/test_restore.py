"""The form of the global model outlives every strategy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.strategies.restore import restore_model
from shared.parameters import ArraySpec
from shared.records import from_array_record, to_array_record


def restored(array: np.ndarray, dtype: str) -> np.ndarray:
    record = restore_model(to_array_record({"a": array}), {"a": ArraySpec(shape=array.shape, dtype=dtype)})
    return from_array_record(record)["a"]


def test_means_of_counters_are_rounded_to_the_nearest_even() -> None:
    np.testing.assert_array_equal(restored(np.array([1.4, 1.5, 2.5, -1.6]), "int64"), [1, 2, 2, -2])
    assert restored(np.array(9.33), "int64").dtype == np.int64


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "uint32", "int64", "uint64"])
@given(values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=5))
def test_no_value_overflows_a_counter(dtype: str, values: list[float]) -> None:
    got = restored(np.array(values), dtype)

    assert got.dtype == dtype
    for value, whole in zip(values, got, strict=True):
        limits = np.iinfo(dtype)
        assert int(whole) == pytest.approx(min(max(round(value), limits.min), limits.max), rel=1e-15, abs=0)


def test_other_casts() -> None:
    assert restored(np.array([0.4, 0.6]), "bool").tolist() == [False, True]
    assert restored(np.array([0.1]), "float32").dtype == np.float32
    assert restored(np.array([1.5], np.float32), "float64").tolist() == [1.5]


def test_what_has_the_right_form_is_passed_on_uncopied() -> None:
    array = np.ones(3, np.float32)

    assert np.shares_memory(restored(array, "float32"), array)


def test_arrays_the_model_does_not_have_are_left_alone() -> None:
    record = restore_model(to_array_record({"new": np.ones(2)}), {})

    assert from_array_record(record)["new"].dtype == np.float64


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_model_that_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="'a'"):
        restored(np.array([1, value], np.float32), "float32")
