"""Finds the loss and the accuracy among a client's or a strategy's metrics, whatever they were called."""

from __future__ import annotations

import math
from collections.abc import Mapping

# Ours first; then the names that Flower's own examples use.
LOSS_NAMES = ("loss", "train_loss", "eval_loss", "test_loss")
ACCURACY_NAMES = ("accuracy", "eval_acc", "train_acc", "acc")


def loss_of(metrics: Mapping[str, object]) -> float | None:
    """Return the loss, or None when there is none that is a finite number."""
    return _first(metrics, LOSS_NAMES)


def accuracy_of(metrics: Mapping[str, object]) -> float | None:
    """Return the accuracy, or None when there is none that is a finite number."""
    return _first(metrics, ACCURACY_NAMES)


def as_number(value: object) -> float | None:
    """Return a finite float, or None for everything else (text, null, true, infinity, an integer beyond floats)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def _first(metrics: Mapping[str, object], names: tuple[str, ...]) -> float | None:
    for name in names:
        value = as_number(metrics.get(name))
        if value is not None:
            return value
    return None
