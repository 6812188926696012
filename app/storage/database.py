"""The connection to SQLite or PostgreSQL: how a transaction to read and one to write begin, and that writers queue.

SQLite is in WAL mode: readers see a snapshot and wait for nobody; one writer at a time. Writers of this process queue
at a lock, which is fair, where SQLite's own waiting is not; those of other processes wait up to ``_BUSY_TIMEOUT_MS``.
On PostgreSQL an advisory lock makes writers queue too: ids of events then become visible in their order, and whoever
reads on from the last id it saw misses none.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.pool import ConnectionPoolEntry

from app.storage.schema import migrate
from shared.errors import StoreError

_BUSY_TIMEOUT_MS = 30_000  # a writer in another process holds the lock for one batch, far below a second
_POOL_SIZE, _MOST_CONNECTIONS = 8, 32  # readers beyond wait for a free one
_ADVISORY_LOCK = 0x436F6E7374656C6C  # "Constell": other users of the same server take other numbers
_WRITES = "constellation_writes"


class Database:
    """One database, migrated to this version's tables."""

    def __init__(self, url: str) -> None:
        """Connect and migrate.

        Raises:
            StoreError: The URL is not usable, or the database cannot be opened or is of a newer version.
        """
        self.url = _parse(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._writing = threading.Lock()
        self.engine = _sqlite(self.url) if self.is_sqlite else _postgresql(self.url)
        try:
            self._migrate()
        except BaseException:
            self.engine.dispose()
            raise

    @property
    def shown(self) -> str:
        """The URL without its password, which the query may hold too."""
        return self.url.set(query={}).render_as_string(hide_password=True)

    def _migrate(self) -> None:
        try:
            with self._transaction(is_writing=True) as connection:
                migrate(connection)
        except DBAPIError as error:
            raise StoreError(f"the run store {self.shown} cannot be opened: {_first_line(error)}") from error

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Begin a transaction that nobody else's writing interleaves with; an exception takes it all back."""
        try:
            with self._writing, self._transaction(is_writing=True) as connection:
                yield connection
        except DBAPIError as error:
            raise StoreError(f"the run store cannot be written: {_first_line(error)}") from error

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Begin a transaction that sees one state of the database throughout."""
        try:
            with self._transaction(is_writing=False) as connection:
                yield connection
        except DBAPIError as error:
            raise StoreError(f"the run store cannot be read: {_first_line(error)}") from error

    @contextmanager
    def _transaction(self, *, is_writing: bool) -> Iterator[Connection]:
        if self.is_sqlite:
            options: dict[str, Any] = {_WRITES: is_writing}
        else:
            options = {} if is_writing else {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        with self.engine.connect() as plain, plain.execution_options(**options).begin():
            if is_writing and not self.is_sqlite:
                plain.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
            yield plain

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # not shown: it may hold a password where none was looked for
        raise StoreError(
            "what was given is no database URL; use sqlite:///FILE or postgresql+psycopg://HOST/NAME"
        ) from None
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise StoreError(f"{parsed.get_backend_name()} is not supported; use SQLite or PostgreSQL")
    if parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise StoreError("the run store needs a file: sqlite:///FILE")
    return parsed


def _sqlite(url: URL) -> Engine:
    try:
        Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"the folder of {url.database} cannot be made: {error.strerror}") from error
    engine = create_engine(
        url,
        pool_size=_POOL_SIZE,
        max_overflow=_MOST_CONNECTIONS - _POOL_SIZE,
        connect_args={"timeout": _BUSY_TIMEOUT_MS / 1000},
    )
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _set_up_sqlite(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # we say BEGIN: Python's sqlite3 would only before it writes
    cursor = connection.cursor()
    try:
        cursor.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute("PRAGMA journal_mode")
        if cursor.fetchone() != ("wal",):
            cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = NORMAL")  # a power failure may cost the last batches, which are sent again
        cursor.execute("PRAGMA temp_store = MEMORY")
    finally:
        cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    is_writing = connection.get_execution_options().get(_WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writing else "BEGIN")


def _postgresql(url: URL) -> Engine:
    try:
        return create_engine(url, pool_size=_POOL_SIZE, max_overflow=_MOST_CONNECTIONS - _POOL_SIZE, pool_pre_ping=True)
    except (NoSuchModuleError, ImportError) as error:
        raise StoreError(
            "PostgreSQL needs psycopg 3: pip install 'constellation-fl[postgres]', and a URL postgresql+psycopg://..."
        ) from error


def _first_line(error: BaseException) -> str:
    cause = getattr(error, "orig", None) or error
    if isinstance(cause, sqlite3.Error) and "locked" in str(cause):
        return "another process has been writing for too long"
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0]
