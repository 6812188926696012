"""Compares secrets without telling how much of a guess was right."""

from __future__ import annotations

import hashlib
import hmac


def digest(secret: str) -> bytes:
    """Return what is kept of a secret: equally long for all, useless to whoever reads it."""
    return hashlib.sha256(secret.encode("utf-8", errors="surrogatepass")).digest()


def is_same(known: bytes, offered: str) -> bool:
    """Compare an offered secret with a kept digest, in time that does not depend on either."""
    return hmac.compare_digest(known, digest(offered))
