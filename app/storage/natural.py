"""Sorts names as people count: client-2 before client-10."""

from __future__ import annotations

import re

_DIGITS = re.compile(r"\d+", re.ASCII)
_WIDTH = 12  # digits of the largest number that is told apart; longer ones sort as text
_MAX_KEY = 400


def sort_key(name: str) -> str:
    """Return what sorts, byte by byte, as the name's words and numbers do."""
    return _DIGITS.sub(lambda found: found.group().lstrip("0").rjust(_WIDTH, "0"), name)[:_MAX_KEY]
