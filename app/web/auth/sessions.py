"""Browsers that are signed in: random tokens in cookies, their digests in a private file that survives a restart."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import threading
from collections.abc import Callable
from pathlib import Path

from app.web.auth.private_files import read_private, write_private

SESSIONS_FILE = "sessions.json"
LIFETIME_S = 24 * 3600.0
MAX_SESSIONS = 256  # bounds file and memory; the oldest is signed out


class Sessions:
    """Signs browsers in and out."""

    def __init__(self, folder: Path, now: Callable[[], float], key: bytes = b"") -> None:
        """Read who was signed in when the process ended.

        Sessions are good under their ``key`` alone: a token that leaked is removed, and nobody who signed in with it
        stays.

        Raises:
            KeyStoreError: Others may read or write the file.
        """
        self._path = folder / SESSIONS_FILE
        self._now = now
        self._key = key
        self._lock = threading.Lock()
        self._valid_until = _read(self._path)  # hex digest of the token -> Unix seconds, oldest first

    def create(self) -> str:
        """Sign a browser in and return its token."""
        token = secrets.token_urlsafe(32)
        with self._lock:
            self._valid_until[self._name(token)] = self._now() + LIFETIME_S
            self._save()
        return token

    def is_valid(self, token: str) -> bool:
        """Tell whether a token belongs to a browser that is signed in.

        The lookup is by digest: its time depends on the digest of a guess, which tells nothing of the token.
        """
        with self._lock:
            return self._now() < self._valid_until.get(self._name(token), 0.0)

    def revoke(self, token: str) -> None:
        """Sign a browser out, at once and for good."""
        with self._lock:
            if self._valid_until.pop(self._name(token), None) is not None:
                self._save()

    def _name(self, token: str) -> str:
        return hmac.new(self._key, token.encode("utf-8", errors="surrogatepass"), hashlib.sha256).hexdigest()

    def _save(self) -> None:
        now = self._now()
        living = {key: until for key, until in self._valid_until.items() if until > now}
        self._valid_until = dict(list(living.items())[-MAX_SESSIONS:])
        write_private(self._path, json.dumps(self._valid_until).encode("ascii"))


def _read(path: Path) -> dict[str, float]:
    try:
        found = json.loads(read_private(path))
    except FileNotFoundError:
        return {}
    except ValueError:  # torn or foreign: nobody is signed in
        return {}
    if not isinstance(found, dict):
        return {}
    return {str(key): float(until) for key, until in found.items() if isinstance(until, int | float)}
