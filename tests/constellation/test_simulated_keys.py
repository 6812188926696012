"""Simulated clients' keys: one each up to a number, shared beyond it, never a stranger's."""

from pathlib import Path

from flwr.app import Context, RecordDict

from constellation.names import MAX_KEYS, client_id_of, key_owner_of, partition_of_client
from constellation.simulated_keys import SimulatedDirectory, simulated_identities
from shared.crypto.directory import FolderDirectory
from shared.crypto.keys import KeyStore


def context(client_id: str) -> Context:
    return Context(1, 5, {"client-id": client_id}, RecordDict(), {})


def test_clients_share_keys_only_beyond_the_number_that_is_made() -> None:
    owners = [key_owner_of(partition) for partition in range(MAX_KEYS)]
    assert len(set(owners)) == MAX_KEYS
    assert key_owner_of(MAX_KEYS) == client_id_of(0)


def test_only_names_of_simulated_clients_have_a_partition() -> None:
    assert partition_of_client("client-0") == 0
    assert partition_of_client("client-12345") == 12345
    for other in (
        "client-",
        "client-01",
        "client--1",
        "client-1x",
        "client-²",
        "server",
        "other-3",
        "client-9999999999",
    ):
        assert partition_of_client(other) is None


def test_a_client_is_enrolled_with_the_key_it_signs_with(tmp_path: Path) -> None:
    identity_of = simulated_identities(KeyStore(tmp_path, key_bits=2048))
    directory = SimulatedDirectory(FolderDirectory(tmp_path))
    first, second = identity_of(context("client-1")), identity_of(context(f"client-{MAX_KEYS + 1}"))
    assert second.client_id == f"client-{MAX_KEYS + 1}"
    assert second.key_id == first.key_id
    assert directory.find(second.client_id, second.key_id) is not None
    assert directory.find("client-2", first.key_id) is None  # not made yet, and not this one
    assert directory.find("stranger", first.key_id) is None
    assert len(list(tmp_path.glob("*.pub.pem"))) == 1
