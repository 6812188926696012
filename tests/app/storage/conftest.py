from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from app.storage.store import Store

# Read before the fixture that hides the user's settings from the tests.
POSTGRES = os.environ.get("CONSTELLATION_TEST_POSTGRES", "postgresql+psycopg://postgres@127.0.0.1:5432/postgres")
NOW = 1_700_009_000.0


@pytest.fixture(scope="session")
def postgres_server() -> str:
    """A server on which databases can be made."""
    engine = create_engine(POSTGRES, connect_args={"connect_timeout": 5})
    try:
        engine.connect().close()
    except OperationalError as error:
        pytest.skip(f"no PostgreSQL at {make_url(POSTGRES).render_as_string()}: {str(error).splitlines()[0]}")
    finally:
        engine.dispose()
    return POSTGRES


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """A database of one's own, dropped afterwards."""
    name = f"constellation_test_{uuid.uuid4().hex}"
    engine = create_engine(postgres_server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    try:
        yield make_url(postgres_server).set(database=name).render_as_string(hide_password=False)
    finally:
        with engine.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store.db"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def store(url: str, tmp_path: Path) -> Iterator[Store]:
    with Store.open(url, str(tmp_path / "objects"), now=lambda: NOW) as opened:
        yield opened


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy: migrating takes a tenth of a second."""
    path = tmp_path_factory.mktemp("empty") / "store.db"
    Store.open(f"sqlite:///{path}", str(path.parent / "objects")).close()
    return path


@pytest.fixture
def new_store(tmp_path: Path, empty_database: Path) -> Iterator[Callable[[], Store]]:
    """Makes as many SQLite stores as a test asks for."""
    opened: list[Store] = []

    def make() -> Store:
        place = tmp_path / f"store-{len(opened)}"
        place.mkdir()
        shutil.copy(empty_database, place / "store.db")
        opened.append(Store.open(f"sqlite:///{place}/store.db", str(place / "objects"), now=lambda: NOW))
        return opened[-1]

    yield make
    for store in opened:
        store.close()
