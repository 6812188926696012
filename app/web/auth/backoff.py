"""Slows down whoever guesses: each failure beyond the first few doubles the wait of that address."""

from __future__ import annotations

import ipaddress
import threading
from collections import OrderedDict
from collections.abc import Callable

FREE_FAILURES = 5  # a person mistypes
LONGEST_WAIT_S = 60.0
FORGET_AFTER_S = 900.0
MAX_ADDRESSES = 100_000  # bounds memory: beyond, the address that failed longest ago is forgotten


class Backoff:
    """Counts failures by address."""

    def __init__(self, now: Callable[[], float], max_addresses: int = MAX_ADDRESSES) -> None:
        self._now = now
        self._max_addresses = max_addresses
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()  # address -> (count, time of the last)
        self._lock = threading.Lock()

    def wait_s(self, address: str) -> float:
        """Return how long this address has to wait before it may try again, 0 for not at all."""
        with self._lock:
            count, last = self._failures.get(_key(address), (0, 0.0))
        age = self._now() - last
        if count < FREE_FAILURES or age > FORGET_AFTER_S:
            return 0.0
        wait = min(LONGEST_WAIT_S, 2.0 ** (count - FREE_FAILURES))
        return max(0.0, wait - age)

    def fail(self, address: str) -> None:
        """Count a wrong secret."""
        key, now = _key(address), self._now()
        with self._lock:
            count, last = self._failures.pop(key, (0, now))
            self._failures[key] = (1 if now - last > FORGET_AFTER_S else min(count + 1, 64), now)
            while len(self._failures) > self._max_addresses:
                self._failures.popitem(last=False)

    def succeed(self, address: str) -> None:
        """Forget the failures of an address."""
        with self._lock:
            self._failures.pop(_key(address), None)


def _key(address: str) -> str:
    """One household has a whole IPv6 /64: counted by address, its guesses would be free."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is None:
        return str(ipaddress.ip_network((parsed, 64), strict=False).network_address)
    return str(parsed)
