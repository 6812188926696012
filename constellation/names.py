"""How simulated clients are called."""

from __future__ import annotations


def client_id_of(partition_id: int) -> str:
    """Name the client that has a partition."""
    return f"client-{partition_id}"
