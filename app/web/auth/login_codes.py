"""One-use codes that sign a browser in: short-lived, few at a time, compared in constant time."""

from __future__ import annotations

import secrets
import threading
from collections import deque
from collections.abc import Callable

from app.web.auth.secret import digest, is_same

LIFETIME_S = 600.0  # long enough to open a link, too short to find it in a log later
MAX_PENDING = 64  # bounds memory and the work of one comparison, should somebody make codes in a loop
_CODE_BYTES = 18


class LoginCodes:
    """Gives out codes and takes each of them back once."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._pending: deque[tuple[bytes, float]] = deque(maxlen=MAX_PENDING)  # (digest, valid until), oldest first
        self._lock = threading.Lock()

    def issue(self) -> str:
        """Return a new code; the oldest one falls out when there are too many."""
        code = secrets.token_urlsafe(_CODE_BYTES)
        with self._lock:
            self._pending.append((digest(code), self._now() + LIFETIME_S))
        return code

    def redeem(self, code: str) -> bool:
        """Tell whether the code is good, and use it up."""
        now = self._now()
        found = None
        with self._lock:
            for entry in self._pending:  # each is compared, so that the time says nothing about the place
                if is_same(entry[0], code):
                    found = entry
            if found is not None:
                self._pending.remove(found)
        return found is not None and now < found[1]
