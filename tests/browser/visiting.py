"""What browser tests share: a visitor with a browser of their own, and a dashboard with runs in it."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, Page

from tests.dashboard_process import DashboardProcess, dashboard_process
from tests.recorded_events import recorded_run

LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]", "::1"})


@dataclass(kw_only=True)
class Visitor:
    """One person with a browser of their own: a profile, a page, and all that went wrong in it."""

    context: BrowserContext
    page: Page
    url: str
    problems: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    # What the browser itself says when a server is away or an answer is 4xx; a test that causes it says so.
    expected: tuple[str, ...] = ()

    def open(self, path: str = "/") -> Page:
        """Go to a page and wait until it has drawn itself."""
        self.page.goto(self.url + path)
        self.settle()
        return self.page

    def settle(self) -> None:
        """Wait until the page says that it is no longer busy and shows no skeleton."""
        self.page.wait_for_selector("main[aria-busy=false] h1", state="attached")
        self.page.wait_for_selector(".skeleton", state="detached")

    def sign_in(self, login_url: str) -> None:
        """Follow the one-use link."""
        self.page.goto(login_url)
        self.page.wait_for_url(self.url + "/")
        self.page.get_by_text("Signed in").wait_for()


def is_foreign(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme not in ("data", "blob") and parts.hostname not in LOOPBACK


@dataclass(frozen=True, kw_only=True)
class Furnished:
    """A dashboard with runs in it, and their ids."""

    dashboard: DashboardProcess
    done: str  # completed, with refusals
    other: str  # completed, with other settings
    crowded: str  # 100 clients
    living: str  # still collecting


def report(dashboard: DashboardProcess, run: str, rows: list[dict[str, object]]) -> None:
    """Send a run's events as a training process does, in calls of bounded size."""
    for first in range(0, len(rows), 500):
        answer = dashboard.report(run, rows[first : first + 500])
        assert answer.status == 200, answer.body


def one_use_link(dashboard: DashboardProcess) -> str:
    """Return a fresh login link, as the operator makes them."""
    answer = dashboard.post("/internal/login-codes", as_operator=True)
    assert answer.status in (200, 201), answer.body
    return str(answer.json["url"])


@contextmanager
def furnished_dashboard() -> Iterator[Furnished]:
    folder = Path(tempfile.mkdtemp(prefix="dashboard-"))
    try:
        with dashboard_process(folder) as dashboard:
            now = time.time()
            ids = {
                name: f"20260101-1000{index:02d}-{name}"
                for index, name in enumerate(("done", "other", "crowded", "living"))
            }
            report(
                dashboard,
                ids["done"],
                recorded_run(ids["done"], num_clients=8, num_rounds=12, rejected=0.2, start=now - 900),
            )
            report(
                dashboard,
                ids["other"],
                recorded_run(ids["other"], num_clients=5, num_rounds=9, seed=2, start=now - 700),
            )
            report(
                dashboard,
                ids["crowded"],
                recorded_run(ids["crowded"], num_clients=100, num_rounds=3, seed=3, start=now - 500),
            )
            rows = recorded_run(ids["living"], num_clients=6, num_rounds=20, seed=4, ends=None, start=now - 60)
            report(dashboard, ids["living"], rows[: len(rows) // 2])
            yield Furnished(dashboard=dashboard, **ids)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
