"""Every private name of flwr 1.41 that the resident SuperNode uses, in one place; tested with the installed one."""

from __future__ import annotations

import flwr
from flwr.supercore.fab import Fab
from flwr.supercore.run import Run

from client.supernode.flwr_compat.apps import AppNotLoaded, context_of, load_from_fab, parse_node_config
from client.supernode.flwr_compat.fleet import (
    Fleet,
    FleetError,
    NodeUnknown,
    Refused,
    RunOver,
    Unreachable,
    Untrusted,
)
from client.supernode.flwr_compat.messages import (
    CLIENT_APP_CRASHED,
    CLIENT_APP_RAISED,
    LOAD_CLIENT_APP,
    Deflated,
    Received,
    error_reply,
    identify_process,
    inflate,
)

__all__ = [
    "CLIENT_APP_CRASHED",
    "CLIENT_APP_RAISED",
    "LOAD_CLIENT_APP",
    "TESTED_SERIES",
    "AppNotLoaded",
    "Deflated",
    "Fab",
    "Fleet",
    "FleetError",
    "NodeUnknown",
    "Received",
    "Refused",
    "Run",
    "RunOver",
    "Unreachable",
    "Untrusted",
    "context_of",
    "error_reply",
    "identify_process",
    "inflate",
    "installed_version",
    "is_tested",
    "load_from_fab",
    "parse_node_config",
]

TESTED_SERIES = "1.41"  # of Flower: with another one the stock SuperNode is used instead


def installed_version() -> str:
    """Return the version of Flower that is installed."""
    return str(flwr.__version__)


def is_tested(version: str) -> bool:
    """Tell whether this module was tested with a version."""
    return version == TESTED_SERIES or version.startswith(f"{TESTED_SERIES}.")
