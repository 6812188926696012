"""Cursors: where a list goes on, as text that nobody needs to understand.

They hold the last row's key, not its number, so a list stays in step while rows are added. They are checked like all
that comes from outside: they may say where to go on, and nothing else.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Sequence

from shared.errors import BadQuery

MAX_LIMIT = 1_000  # rows of one page
_MAX_CHARS = 2_000

Value = int | float | str


def write_cursor(kind: str, values: Sequence[Value]) -> str:
    """Return the cursor of a list of some kind."""
    text = json.dumps([kind, *values], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_cursor(cursor: str, kind: str, types: Sequence[type]) -> list[Value]:
    """Return the key in a cursor.

    Raises:
        BadQuery: It is not a cursor of this kind of list.
    """
    wrong = BadQuery("cursor", "is not one that this list gave; begin again without it")
    if len(cursor) > _MAX_CHARS or not cursor.isascii():
        raise wrong
    try:
        found = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError):
        raise wrong from None
    if not isinstance(found, list) or len(found) != len(types) + 1 or found[0] != kind:
        raise wrong
    values = found[1:]
    if not all(_is_value(value, wanted) for value, wanted in zip(values, types, strict=True)):
        raise wrong
    return values


def checked_limit(limit: int, maximum: int = MAX_LIMIT) -> int:
    """Return how many rows a page may have.

    Raises:
        BadQuery: It is not from 1 to the maximum.
    """
    if not 1 <= limit <= maximum:
        raise BadQuery("limit", f"must be from 1 to {maximum}, got {limit}")
    return limit


def text_of(field: str, value: str, maximum: int = 200) -> str:
    """Return a text that a database can be asked for.

    Raises:
        BadQuery: It is not readable, or too long.
    """
    if len(value) > maximum or not value.isprintable():
        raise BadQuery(field, f"must be readable text of at most {maximum} characters")
    return value


def _is_value(value: object, wanted: type) -> bool:
    if isinstance(value, bool):
        return False
    if wanted is float:
        return isinstance(value, int | float) and math.isfinite(value) and abs(value) <= 1e308
    if wanted is int:
        return isinstance(value, int) and abs(value) < 2**63
    return isinstance(value, str) and "\0" not in value and _is_unicode(value)


def _is_unicode(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
