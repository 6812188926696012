"""The keys of simulated clients: their identities on the workers' side, their directory on the server's."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from flwr.app import Context

from client.signing_mod import ClientIdentity, IdentityOf, client_id_of
from constellation.names import key_owner_of, partition_of_client
from shared.crypto.directory import EnrolledKey, FolderDirectory
from shared.crypto.keys import KeyStore, key_id


def simulated_identities(store: KeyStore) -> IdentityOf:
    """Give each simulated client a key: its own, or a shared one in large simulations; made when first needed."""
    made: dict[str, tuple[RSAPrivateKey, str]] = {}

    def identity_of(context: Context) -> ClientIdentity:
        client_id = client_id_of(context)
        owner = _owner(client_id)
        if owner not in made:
            key = store.load_or_create(owner)
            made[owner] = (key, key_id(key.public_key()))
        key, name = made[owner]
        return ClientIdentity(client_id=client_id, key=key, key_id=name)

    return identity_of


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
