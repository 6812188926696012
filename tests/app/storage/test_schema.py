"""The tables that the migrations make are those of the code, on a new database and on an existing one."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, inspect, text

from app.storage.database import Database
from app.storage.schema import alembic_config
from app.storage.store import Store
from app.storage.tables import METADATA
from app.storage.values import RunSource
from shared.errors import StoreError
from tests.recorded_events import recorded_run


def test_the_migrated_tables_are_those_of_the_code(url: str) -> None:
    database = Database(url)
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, METADATA) == []
    database.close()


def test_migrations_and_code_make_the_same_sql_on_sqlite(tmp_path: Path) -> None:
    # autogenerate does not see WITHOUT ROWID, AUTOINCREMENT and collations: SQLite's own words do.
    database = Database(f"sqlite:///{tmp_path}/migrated.db")
    engine = create_engine(f"sqlite:///{tmp_path}/made.db")
    METADATA.create_all(engine)
    query = text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name != 'alembic_version'")
    with database.read() as migrated, engine.connect() as made:
        told = [
            {
                name: sorted(re.split(r",\s*", re.sub(r"\s+", " ", sql.replace("\n)", ""))))
                for name, sql in connection.execute(query)
            }
            for connection in (migrated, made)
        ]
    assert told[0] == told[1]
    database.close()
    engine.dispose()


def test_opening_again_changes_nothing(url: str, tmp_path: Path) -> None:
    rows = recorded_run("r1", num_clients=2, num_rounds=1)
    for _ in range(2):
        with Store.open(url, str(tmp_path / "objects")) as store:
            store.ingest("r1", rows, RunSource())
            assert store.run("r1").rounds_completed == 1


def test_an_existing_empty_database_with_tables_of_others_is_taken(url: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE somebody_elses (x INTEGER)"))
    database = Database(url)
    database.close()
    assert {"runs", "somebody_elses"} <= set(inspect(engine).get_table_names())
    engine.dispose()


def test_going_back_leaves_nothing(url: str) -> None:
    database = Database(url)
    with database.write() as connection:
        command.downgrade(alembic_config(connection), "base")
    assert inspect(database.engine).get_table_names() == ["alembic_version"]
    database.close()


def test_a_database_of_a_newer_version_is_refused(url: str) -> None:
    database = Database(url)
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()
    with pytest.raises(StoreError, match="newer version"):
        Database(url)


def test_several_processes_may_open_a_new_store_at_once(url: str, tmp_path: Path) -> None:
    code = "import sys; from app.storage.store import Store; Store.open(sys.argv[1], sys.argv[2]).close()"
    commands = [[sys.executable, "-c", code, url, str(tmp_path / "objects")] for _ in range(3)]
    processes = [subprocess.Popen(item, stderr=subprocess.PIPE) for item in commands]
    told = [process.communicate()[1].decode() for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], told
    Store.open(url, str(tmp_path / "objects")).close()


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("nonsense", "is no database URL"),
        ("mysql://127.0.0.1/x", "mysql is not supported"),
        ("sqlite://", "needs a file"),
        ("sqlite:///:memory:", "needs a file"),
        ("postgresql+psycopg://nobody@127.0.0.1:1/x", "cannot be opened"),
    ],
)
def test_an_unusable_url_is_refused_in_a_sentence(url: str, sentence: str) -> None:
    with pytest.raises(StoreError, match=sentence):
        Database(url)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(StoreError, match="cannot be opened"):
        Database(f"sqlite:///{path}")


def test_a_password_is_not_shown() -> None:
    with pytest.raises(StoreError) as caught:
        Database("postgresql+psycopg://me:secret@127.0.0.1:1/x")
    assert "secret" not in str(caught.value)


def test_sqlite_is_in_wal_mode_with_foreign_keys(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/store.db")
    with database.read() as connection:
        told = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "foreign_keys", "synchronous")
        ]
    assert told == ["wal", 1, 1]  # synchronous NORMAL
    database.close()


@pytest.mark.parametrize(
    "url",
    [
        "user:s3cret@host/name", "postgresql+psycopg://user:s3cret@127.0.0.1:port/name",
        "postgresql+psycopg://user:s3cret@127.0.0.1:1/name", "postgresql+psycopg://127.0.0.1:1/name?password=s3cret",
    ],
)  # fmt: skip
def test_a_password_in_the_address_is_not_repeated(tmp_path: Path, url: str) -> None:
    with pytest.raises(StoreError) as caught:
        Store.open(url, str(tmp_path))
    assert "s3cret" not in str(caught.value)
