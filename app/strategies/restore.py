"""What an inner strategy makes of the model, put back into the form of the model that was sent."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from flwr.app import ArrayRecord

from shared.parameters import AnyArray, ArraySpec
from shared.records import from_array_record, to_array_record


def restore_model(record: ArrayRecord, schema: Mapping[str, ArraySpec]) -> ArrayRecord:
    """Cast each array to its dtype in the global model: a mean of int64 counters is float64.

    Raises:
        ValueError: The new model holds a value that is not finite.
    """
    arrays = from_array_record(record)
    restored: dict[str, AnyArray] = {}
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(f"array {name!r} of the new model has a value that is not finite")
        restored[name] = _cast(array, np.dtype(schema[name].dtype)) if name in schema else array
    return to_array_record(restored)


def _cast(array: AnyArray, dtype: np.dtype[np.generic]) -> AnyArray:
    if array.dtype == dtype:
        return array
    if dtype.kind in "iu" and array.dtype.kind == "f":
        return _round(array, dtype)
    if dtype.kind == "b":
        return np.asarray(array >= 0.5)
    return array.astype(dtype)


def _round(array: AnyArray, dtype: np.dtype[np.generic]) -> AnyArray:
    """Round to whole numbers; what lies outside the dtype's range becomes its limit."""
    limits = np.iinfo(dtype.name)
    # float64 has no 2**63 - 1, its next below is 2**63 - 1024: clipped to that, the cast cannot overflow.
    highest = np.nextafter(np.float64(limits.max), 0) if dtype.itemsize == 8 else np.float64(limits.max)
    return np.clip(np.rint(array.astype(np.float64)), np.float64(limits.min), highest).astype(dtype)
