"""What our own server tells Flower beside a run's settings, in the same flat run config."""

from __future__ import annotations

import types
from collections.abc import Mapping

from shared.config import Scalar

RUN_ID = "run-id"  # the folder under ``output`` that was prepared for the run
CLIENTS = "clients"  # who is expected, by name with commas between them
OWN_KEYS: Mapping[str, Scalar] = types.MappingProxyType({RUN_ID: "", CLIENTS: ""})


def settings_in(run_config: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Return the settings of a run config."""
    return {key: value for key, value in run_config.items() if key not in OWN_KEYS}


def order_in(run_config: Mapping[str, Scalar]) -> dict[str, str]:
    """Return the rest: "" for what was not said, as by ``flwr run``."""
    return {key: str(run_config.get(key, default)) for key, default in OWN_KEYS.items()}
