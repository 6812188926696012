from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from app.storage.store import Store
from app.web.auth.access import Access
from app.web.auth.hosts import AllowedHosts
from app.web.factory import Dashboard, create_app
from app.web.services import Services, WebOptions
from tests.dashboard_process import DashboardProcess, dashboard_process

TOKEN = "t" * 43


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(f"sqlite:///{tmp_path / 'store.db'}", str(tmp_path / "objects"))
    with opened:
        yield opened


@pytest.fixture
def services(store: Store, tmp_path: Path) -> Services:
    access = Access(token=TOKEN, folder=tmp_path, now=lambda: 1_000.0, allowed_hosts=AllowedHosts([]))
    return Services(store=store, access=access, options=WebOptions(output=tmp_path, version="1"))


@pytest.fixture
def dashboard(services: Services) -> Dashboard:
    return create_app(services)


@pytest.fixture
def client(dashboard: Dashboard) -> FlaskClient:
    """Somebody on this machine who has not signed in."""
    return dashboard.app.test_client()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DashboardProcess]:
    """A real process; tests of one file share it."""
    with dashboard_process(tmp_path_factory.mktemp("output")) as started:
        yield started
