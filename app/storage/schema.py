"""Brings a database to this version's tables with alembic's migrations, which are part of the package.

By hand, for a database of one's own: ``alembic -x url=sqlite:///runs/.constellation/store.db upgrade head`` with
``script_location = app:storage/migrations`` in an alembic.ini.
"""

from __future__ import annotations

import logging
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from shared.errors import StoreError

MIGRATIONS = Path(__file__).parent / "migrations"
CONNECTION = "connection"  # under this attribute migrations/env.py finds the connection to use


def alembic_config(connection: Connection | None = None) -> Config:
    """Return alembic's settings, over an open transaction where there is one."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    if connection is not None:
        config.attributes[CONNECTION] = connection
    return config


def migrate(connection: Connection) -> None:
    """Run what is missing, inside the caller's transaction, which keeps other processes out.

    Raises:
        StoreError: The database was written by a newer version.
    """
    config = alembic_config(connection)
    script = ScriptDirectory.from_config(config)
    current = MigrationContext.configure(connection).get_current_revision()
    if current == script.get_current_head():
        return
    if current is not None and current not in {revision.revision for revision in script.walk_revisions()}:
        raise StoreError(
            f"the run store is of a newer version (revision {current}); update Constellation, or use another store"
        )
    log = logging.getLogger("alembic")
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        command.upgrade(config, "head")
    finally:
        log.setLevel(level)
