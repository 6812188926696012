"""The random states that strategies use: Flower samples nodes with Python's global ``random``.

They are seeded for the run, saved with each checkpoint, and put in place only while a strategy works: whoever else uses
the global generators in this process is neither disturbed nor able to disturb the run.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

_MT19937_WORDS = 624


class StrategyRandomness:
    """Python's and numpy's global generators as the run's strategy sees them."""

    def __init__(self, seed: int) -> None:
        self._python = random.Random(seed).getstate()  # noqa: S311 - node sampling is reproducible on purpose
        self._numpy: dict[str, Any] = dict(np.random.RandomState(seed).get_state(legacy=False))

    @contextmanager
    def active(self) -> Iterator[None]:
        """Put the run's states in place, and the process's own back afterwards."""
        python, numpy = random.getstate(), np.random.get_state(legacy=False)
        random.setstate(self._python)
        np.random.set_state(self._numpy)
        try:
            yield
        finally:
            self._python = random.getstate()
            self._numpy = dict(np.random.get_state(legacy=False))
            random.setstate(python)
            np.random.set_state(numpy)

    def to_json(self) -> dict[str, object]:
        """Return both states as JSON values."""
        version, internal, gauss = self._python
        state = self._numpy
        return {
            "python": [version, list(internal), gauss],
            "numpy": {
                "key": [int(word) for word in state["state"]["key"]],
                "pos": int(state["state"]["pos"]),
                "has-gauss": int(state["has_gauss"]),
                "gauss": float(state["gauss"]),
            },
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Take the states that ``to_json`` gave.

        Raises:
            Exception: They are not such states; those of before stand.
        """
        version, internal, gauss = saved["python"]
        python = random.Random()  # noqa: S311 - reproducible choices, no secrets
        python.setstate((version, tuple(internal), gauss))
        told = saved["numpy"]
        if not 0 <= told["pos"] <= _MT19937_WORDS:  # numpy does not look, and would read beyond its memory
            raise ValueError(f"position {told['pos']} is not one of a generator")
        state: dict[str, Any] = {
            "bit_generator": "MT19937",
            "state": {"key": np.array(told["key"], dtype=np.uint32), "pos": told["pos"]},
            "has_gauss": told["has-gauss"],
            "gauss": told["gauss"],
        }
        np.random.RandomState().set_state(state)
        self._python, self._numpy = python.getstate(), state
