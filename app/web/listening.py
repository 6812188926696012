"""Opens the dashboard's port, before anything else is started."""

from __future__ import annotations

import errno
import socket
import struct

from shared.errors import UsageError

BACKLOG = 1024
SEND_TIMEOUT_S = 20  # a viewer that reads nothing for so long is gone: its thread must not wait for it


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 lets the system choose.

    Raises:
        UsageError: The port is taken, or the address is not one of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except (OSError, OverflowError) as error:
        raise UsageError(f"host {host!r} is no address of this machine: {error}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Connections inherit it.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", SEND_TIMEOUT_S, 0))
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise UsageError(f"port {port} of {host} is in use; choose another with --web-port") from error
        if error.errno == errno.EACCES:
            raise UsageError(f"port {port} may only be used by the administrator; choose one above 1023") from error
        raise UsageError(f"{host}:{port} cannot be listened on: {error.strerror}") from error
    return listener


def url_of(listener: socket.socket) -> str:
    """Return the address as this machine reaches it."""
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"  # noqa: S104
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
