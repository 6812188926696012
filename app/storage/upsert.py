"""Insert or replace, many rows at once, on both databases."""

from __future__ import annotations

import functools
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
    keys = tuple(index or [column.name for column in table.primary_key])
    connection.execute(_statement(connection.dialect.name, table, tuple(values[0]), keys), values)


@functools.cache  # making one costs more than running it: SQLAlchemy copies every column for EXCLUDED
def _statement(dialect: str, table: Table, columns: tuple[str, ...], keys: tuple[str, ...]) -> Any:
    statement = (sqlite if dialect == "sqlite" else postgresql).insert(table)
    changed = {name: statement.excluded[name] for name in columns if name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=changed)
