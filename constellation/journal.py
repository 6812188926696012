"""Records rounds for a simulation: the model, the strategy, the random states and the clients' states, in one place."""

from __future__ import annotations

import json
from collections.abc import Mapping

from flwr.app import ArrayRecord
from flwr.serverapp.strategy import Strategy

from app.engine.checkpoint import Checkpoint, CheckpointStore
from app.engine.local_grid import LocalGrid
from app.engine.randomness import StrategyRandomness
from app.strategies.state import StrategyState, capture_state, restore_state
from shared.records import from_array_record, to_array_record


class SimulationJournal:
    """The round loop's journal over a checkpoint store."""

    def __init__(self, store: CheckpointStore, grid: LocalGrid, strategy: Strategy) -> None:
        self._store = store
        self._grid = grid
        self._strategy = strategy

    def begin_attempt(self, server_round: int) -> int:
        """Record a start of a round, durably."""
        return self._store.begin_attempt(server_round)

    def close_round(self, server_round: int, arrays: ArrayRecord, randomness: Mapping[str, object]) -> None:
        """Record a closed round and the client states that changed in it, durably."""
        checkpoint = Checkpoint(
            server_round=server_round,
            arrays=from_array_record(arrays),
            strategy=capture_state(self._strategy).to_bytes(),
            facts=json.loads(json.dumps({"randomness": randomness})),
        )
        self._store.save(checkpoint, self._grid.take_changed_states())

    def restore(self, randomness: StrategyRandomness) -> tuple[int, ArrayRecord]:
        """Put everything back as it was when the last round closed.

        Returns:
            That round, and the global model after it.

        Raises:
            CheckpointError: The checkpoint cannot be read, or does not fit the strategy.
        """
        checkpoint = self._store.load()
        restore_state(self._strategy, StrategyState.from_bytes(checkpoint.strategy))
        randomness.restore(checkpoint.facts["randomness"])  # type: ignore[arg-type]
        self._grid.restore_states(self._store.load_states(checkpoint.server_round))
        return checkpoint.server_round, to_array_record(checkpoint.arrays)
