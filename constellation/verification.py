"""Puts verification around a simulation's strategy: every update signed, enrolled, and of sane values."""

from __future__ import annotations

from collections.abc import Callable

from flwr.serverapp.strategy import Strategy

from app.strategies.catalog import policy_of
from app.strategies.privacy import PrivacyTally
from app.strategies.verified import VerifiedStrategy
from constellation.folders import key_dir_of
from constellation.names import partition_of_client
from constellation.simulated_keys import SimulatedDirectory, simulated_key_store
from shared.config import RunConfig
from shared.crypto.directory import FolderDirectory
from shared.crypto.keys import SERVER_ID
from shared.datasets.federated import FederatedData
from shared.events import Event


def verified(
    inner: Strategy,
    config: RunConfig,
    data: FederatedData,
    run_id: str,
    emit: Callable[[Event], None],
    client_of: Callable[[int], str],
    privacy: PrivacyTally | None = None,
) -> VerifiedStrategy:
    """Wrap a strategy; a simulated client's enrolled maximum is the size of its partition.

    Clients make their keys when they first answer, in the folder that the directory reads: a simulation's clients and
    its directory belong to one user.
    """

    def max_examples(client_id: str) -> int | None:
        partition = partition_of_client(client_id)
        return data.num_examples(partition) if partition is not None and partition < data.num_clients else None

    key_dir = key_dir_of(config)
    return VerifiedStrategy(
        inner,
        run_id=run_id,
        server_key=simulated_key_store(config).load_or_create(SERVER_ID) if config.signatures else None,
        directory=SimulatedDirectory(FolderDirectory(key_dir)) if config.signatures else None,
        policy=policy_of(config),
        emit=emit,
        require_signatures=config.signatures,
        client_of=client_of,
        max_examples=max_examples,
        privacy=privacy,
    )
