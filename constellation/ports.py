"""A port for the dashboard: the one that was asked for, or a free one near it when nobody insisted."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable

from shared.errors import UsageError

_NEAR = 20  # ports tried after the one that is taken, before the system chooses


def port_for(host: str, wanted: int, *, option: str, is_wanted: bool, say: Callable[[str], None]) -> int:
    """Return the port to serve at, which is free now.

    Args:
        host: The address to serve at.
        wanted: The port of the settings; 0 is any.
        option: What sets it, for the sentence: ``--web-port``.
        is_wanted: Somebody named this port; another will not do.
        say: Takes one sentence for a person.

    Raises:
        UsageError: The port that somebody named is in use, or cannot be used.
    """
    if wanted == 0:
        return any_port(host)
    reason = why_not(host, wanted)
    if reason is None:
        return wanted
    other = free_port(host, wanted)
    if is_wanted:
        raise UsageError(f"port {wanted} cannot be used ({reason}); {other} is free: {option} {other}")
    say(f"port {wanted} is taken ({reason}): the dashboard takes {other}")
    return other


def why_not(host: str, port: int) -> str | None:
    """Say why one cannot serve there, None when one can."""
    try:
        with _socket(host) as probe:
            probe.bind((host, port))
            probe.listen(1)
    except (OSError, OverflowError) as error:
        return getattr(error, "strerror", None) or str(error)
    return None


def free_port(host: str, taken: int) -> int:
    """Return a port where one can serve now."""
    for port in range(taken + 1, min(taken + 1 + _NEAR, 65_536)):
        if why_not(host, port) is None:
            return port
    return any_port(host)


def any_port(host: str) -> int:
    """Return a free port that the system chooses.

    Raises:
        UsageError: One cannot serve at this host.
    """
    try:
        with _socket(host) as probe:
            probe.bind((host, 0))
            return int(probe.getsockname()[1])
    except OSError as error:
        raise UsageError(f"host {host} cannot be served at: {error.strerror or error}; name another") from error


def _socket(host: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    if sys.platform != "win32":  # there it would let two serve at one port
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of the last one may still linger
    return made
