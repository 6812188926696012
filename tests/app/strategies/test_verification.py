"""One reply by itself, where whole federations are too small to show it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from app.strategies.verification import TRAIN, OpenPhase, WholeModel, read_values
from shared.parameters import schema_of
from shared.records import record_dict, to_array_record


def test_the_norm_of_a_large_array_is_that_of_all_its_values() -> None:
    model = {"w": np.zeros(20_001, np.float32)}  # three dot products, the last of few values
    asked = OpenPhase(
        run_id="run",
        attempt=1,
        server_round=1,
        phase=TRAIN,
        requests={},
        model=model,
        expected=WholeModel().expected(TRAIN, schema_of(model)),
    )
    update = record_dict({"arrays": to_array_record({"w": np.full(20_001, 3.0, np.float32)})})

    values = read_values(update, asked, weight_key="num-examples", needs_examples=False)

    assert values.norm == pytest.approx(3.0 * math.sqrt(20_001), rel=1e-6)
