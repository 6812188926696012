"""Records rounds: the model, the strategy, the random states and the clients' states, in one place."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from flwr.app import ArrayRecord
from flwr.serverapp.strategy import Strategy

from app.engine.checkpoint import Checkpoint, CheckpointStore
from app.engine.randomness import StrategyRandomness
from app.strategies.state import StrategyState, capture_state, restore_state
from shared.errors import CheckpointError, ConstellationError
from shared.parameters import schema_of
from shared.records import from_array_record, to_array_record


def open_store(run_dir: Path, *, is_new: bool) -> CheckpointStore:
    """Open a run's checkpoints; a new run whose first file cannot be written leaves no folder."""
    try:
        return CheckpointStore(run_dir)
    except ConstellationError:
        if is_new:
            shutil.rmtree(run_dir, ignore_errors=True)
        raise


class ClientStates(Protocol):
    """A grid that keeps its clients' states; on a real network each client keeps its own."""

    def take_changed_states(self) -> dict[int, bytes]:
        """Return the states that changed since the last call, by client."""

    def restore_states(self, states: Mapping[int, bytes]) -> None:
        """Put states back."""


class RunJournal:
    """The round loop's journal over a checkpoint store."""

    def __init__(self, store: CheckpointStore, strategy: Strategy, clients: ClientStates | None = None) -> None:
        self._store = store
        self._strategy = strategy
        self._clients = clients

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
        self._store.save(checkpoint, self._clients.take_changed_states() if self._clients else {})

    def restore(self, randomness: StrategyRandomness, like: ArrayRecord | None = None) -> tuple[int, ArrayRecord]:
        """Put everything back as it was when the last round closed.

        Args:
            randomness: Where the random states go.
            like: What this run's model looks like; another one is refused.

        Returns:
            That round, and the global model after it.

        Raises:
            CheckpointError: The checkpoint cannot be read, or does not fit the strategy or the model.
        """
        checkpoint = self._store.load()
        if like is not None and schema_of(checkpoint.arrays) != schema_of(from_array_record(like)):
            raise CheckpointError("the checkpoint holds another model than this run's; start the run anew")
        restore_state(self._strategy, StrategyState.from_bytes(checkpoint.strategy))
        try:
            randomness.restore(checkpoint.facts["randomness"])  # type: ignore[arg-type]
        except Exception as error:  # the file may come from anywhere: whatever is wrong with a state, it is refused
            raise CheckpointError(
                f"the random states in the checkpoint are damaged ({type(error).__name__}: {error}); start the run anew"
            ) from error
        if self._clients:
            self._clients.restore_states(self._store.load_states(checkpoint.server_round))
        return checkpoint.server_round, to_array_record(checkpoint.arrays)
