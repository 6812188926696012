"""Which Host and Origin a request may name.

DNS rebinding: a hostile site lets its own name point to 127.0.0.1, and the visitor's browser then asks this server on
its behalf. Such a request comes from loopback, but its Host is the site's name: names that are not ours are refused.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

_LOOPBACK_NAMES = frozenset({"localhost", "ip6-localhost"})


def host_name(host: str) -> str:
    """Return the name of a Host header without its port, lower case, "" when it is malformed."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port  # raises when it is no number
        name = parts.hostname or ""
    except ValueError:
        return ""
    if parts.username is not None or parts.path or parts.query or parts.fragment or "@" in host:
        return ""
    return name.rstrip(".")


def is_loopback_address(address: str) -> bool:
    """Tell whether a peer's address is this machine's loopback."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return (mapped or parsed).is_loopback


class AllowedHosts:
    """The names this server answers to."""

    def __init__(self, names: Iterable[str]) -> None:
        """Take more names than loopback's: the machine's own, or those of a proxy before it."""
        self._names = frozenset(name.lower().rstrip(".") for name in names if name) | _LOOPBACK_NAMES

    def allows(self, host: str) -> bool:
        """Tell whether a Host header may stand: one of the names, or an address (rebinding needs a name)."""
        name = host_name(host)
        return name in self._names or _is_address(name)

    def is_own_origin(self, origin: str, host: str) -> bool:
        """Tell whether an Origin header is the page this server itself gave out."""
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        return parts.scheme in ("http", "https") and bool(host) and parts.netloc.lower() == host.lower()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
