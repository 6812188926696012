"""The keys of simulated clients: their identities on the workers' side, their directory on the server's."""

from __future__ import annotations

from client.signing_mod import IdentityOf, identities_from
from constellation.folders import key_dir_of
from constellation.names import key_owner_of, partition_of_client
from shared.config import RunConfig
from shared.crypto.directory import EnrolledKey, FolderDirectory
from shared.crypto.keys import MIN_KEY_BITS, KeyStore

# The least that verification accepts. Keys of a simulation lie with one user on one machine and protect nobody, and an
# RSA-2048 key is made, and signs, three times as fast as the 3,072 bits that `constellation keys` makes elsewhere.
SIMULATED_KEY_BITS = MIN_KEY_BITS


def simulated_key_store(config: RunConfig) -> KeyStore:
    """Return where a simulation's keys lie; those that are there are used as they are, whatever their size."""
    return KeyStore(key_dir_of(config), key_bits=SIMULATED_KEY_BITS)


def simulated_identities(store: KeyStore) -> IdentityOf:
    """Give each simulated client a key: its own, or a shared one in large simulations; made when first needed."""
    return identities_from(store, _owner)


class SimulatedDirectory:
    """Enrolls every simulated client with the key it signs with, once that is made.

    The folder is the one that the clients' keys are made in: clients and directory belong to one user.
    """

    def __init__(self, folder: FolderDirectory) -> None:
        self._folder = folder

    def find(self, client_id: str, key_id: str) -> EnrolledKey | None:
        """Return the key if it is this client's."""
        return self._folder.find(_owner(client_id), key_id)


def _owner(client_id: str) -> str:
    partition = partition_of_client(client_id)
    return client_id if partition is None else key_owner_of(partition)
