"""Settings of the dashboard itself, by name: what New run starts from, for one."""

from __future__ import annotations

import json

from sqlalchemy import Connection, select

from app.storage.checking import require_name
from app.storage.tables import SETTINGS
from app.storage.upsert import upsert
from shared.errors import StoreError
from shared.events import JsonValue

MAX_VALUE_CHARS = 1_000_000


def read_settings(connection: Connection) -> dict[str, JsonValue]:
    """Return all settings."""
    found = connection.execute(select(SETTINGS.c.key, SETTINGS.c.value).order_by(SETTINGS.c.key))
    return {row.key: json.loads(row.value) for row in found}


def write_setting(connection: Connection, key: str, value: JsonValue, now: float) -> None:
    """Set one.

    Raises:
        StoreError: The value cannot be kept.
        BadEvent: The key is not usable.
    """
    require_name("key", key)
    try:
        text = json.dumps(value, allow_nan=False)
    except (ValueError, TypeError, RecursionError) as error:
        raise StoreError(f"the setting {key} cannot be kept: {error}") from None
    if len(text) > MAX_VALUE_CHARS:
        raise StoreError(f"the setting {key} is longer than {MAX_VALUE_CHARS} characters")
    upsert(connection, SETTINGS, [{"key": key, "value": text, "updated_ts": now}])
