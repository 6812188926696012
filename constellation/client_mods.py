"""The mods a simulated client runs, outermost first: signing, and hostility where it was asked for."""

from __future__ import annotations

from flwr.clientapp.typing import Mod

from client.attacks import forging, hostile_mods
from client.secagg_mod import make_secagg_mod
from client.signing_mod import make_signing_mod
from constellation.folders import key_dir_of
from constellation.simulated_keys import SimulatedDirectory, simulated_identities, simulated_key_store
from shared.config import RunConfig
from shared.crypto.directory import FolderDirectory
from shared.crypto.keys import SERVER_ID


def mods_of(config: RunConfig) -> list[Mod]:
    """Build the mods. The server's key is made here if need be: every client trusts it from the start.

    Raises:
        KeyStoreError: The key folder cannot be used.
        ConfigError: An attack makes no sense with these settings.
    """
    outer, inner = hostile_mods(config)
    if not config.signatures:
        return [*outer, *inner]
    store = simulated_key_store(config)
    server_key = store.load_or_create(SERVER_ID).public_key()
    identity_of = forging(config, simulated_identities(store))
    signing = make_signing_mod(identity_of, lambda _: server_key)
    if not config.secure_aggregation:
        return [*outer, signing, *inner]
    directory = SimulatedDirectory(FolderDirectory(key_dir_of(config)))
    return [*outer, signing, make_secagg_mod(identity_of, lambda _: directory), *inner]
