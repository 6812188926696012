"""How simulated clients are called."""

from __future__ import annotations


def client_id_of(partition_id: int) -> str:
    """Name the client that has a partition."""
    return f"client-{partition_id}"


MAX_KEYS = 128  # made for one simulation


def key_owner_of(partition_id: int) -> str:
    """Name the client whose key a simulated client signs with: its own, or in large simulations one that it shares.

    Making an RSA key takes 0.05 to 0.2 s: 10,000 simulated clients would wait a quarter of an hour for theirs. Keys of
    simulated clients all lie with one user on one machine, so beyond ``MAX_KEYS`` clients they are used again. Deployed
    clients never share.
    """
    return client_id_of(partition_id % MAX_KEYS)


def partition_of_client(client_id: str) -> int | None:
    """Return a simulated client's partition; None for a name that no simulated client has."""
    stem, _, number = client_id.rpartition("-")
    is_ours = stem == "client" and number.isascii() and number.isdecimal() and (number == "0" or number[0] != "0")
    return int(number) if is_ours and len(number) < 10 else None
