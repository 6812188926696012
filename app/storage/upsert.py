"""Insert or replace, many rows at once, on both databases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite


def upsert(
    connection: Connection, table: Table, values: Sequence[dict[str, Any]], index: Sequence[str] | None = None
) -> None:
    """Write rows whose columns are those of the first; where the key is known, the row is replaced.

    Args:
        connection: Where to.
        table: The table.
        values: The rows; nothing happens without any.
        index: The columns that are unique together; the primary key, unless it says otherwise.
    """
    if not values:
        return
    keys = list(index or [column.name for column in table.primary_key])
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    statement = dialect.insert(table)
    changed = {name: statement.excluded[name] for name in values[0] if name not in keys}
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=changed), values)
