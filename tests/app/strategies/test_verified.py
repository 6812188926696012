"""VerifiedStrategy in rounds: who gets through, what the inner strategy sees, and what a bad reply cannot do."""

from __future__ import annotations

import numpy as np

from shared.events import UpdateAccepted
from tests.actors import MODEL, Federation, bits


def test_a_round_of_honest_clients_is_their_weighted_mean() -> None:
    federation = Federation(num_clients=3)

    model = federation.train()

    # Steps 1/8, 2/8, 3/8 with 10, 20, 30 examples: (10 + 40 + 90) / 60 / 8 = 7/24.
    assert model is not None
    for name, array in MODEL.items():
        np.testing.assert_allclose(model[name], array + 7 / 24, rtol=1e-6)
    assert federation.accepted() == ["client-0", "client-1", "client-2"]
    assert federation.rejections() == []
