"""What alembic runs: the migrations, on the connection that ``app.storage.schema`` hands in or on ``-x url=URL``."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection, create_engine

from app.storage.schema import CONNECTION
from app.storage.tables import METADATA


def _run(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=METADATA, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()


def main() -> None:
    """Run what was asked for."""
    connection = context.config.attributes.get(CONNECTION)
    if connection is not None:
        _run(connection)
        return
    url = context.get_x_argument(as_dictionary=True).get("url", "")
    with create_engine(url).begin() as own:
        _run(own)


main()
