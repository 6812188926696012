"""Who is hostile in a simulation, and how: ``--attack NAME:K``."""

from __future__ import annotations

from shared.config import RunConfig
from shared.errors import ConfigError


def hostile_clients(config: RunConfig) -> dict[str, str]:
    """Tell which clients are hostile, and how: client id -> attack.

    They are the last ones: the first attack of the list takes its K from the highest partition id downwards, the next
    one goes on from there.

    Raises:
        ConfigError: ``forge`` without signatures: there is nothing to forge.
    """
    hostile: dict[str, str] = {}
    for attack in config.attack:
        name, _, count = attack.partition(":")
        if name == "forge" and not config.signatures:
            raise ConfigError("attack forge needs signatures on: without them there is nothing to forge")
        for _ in range(int(count)):
            hostile[f"client-{config.num_clients - 1 - len(hostile)}"] = name
    return hostile
