"""What clients and people write stays text: names, reasons, metrics and log lines are never markup."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.visiting import Visitor, report
from tests.dashboard_process import DashboardProcess, dashboard_process
from tests.recorded_events import recorded_run

pytestmark = pytest.mark.e2e

RUN = "20260101-130000-mallory"
MARKUP = "<img src=x onerror=window.pwned=1><script>window.pwned=1</script>"
SCHEME = "javascript:window.pwned=1"


def hostile_rows() -> list[dict[str, object]]:
    """Return a run whose first client is called what would be an attack in HTML."""
    rows = recorded_run(RUN, num_clients=4, num_rounds=3, rejected=0.3, start=time.time() - 60)

    def renamed(value: Any) -> Any:
        if isinstance(value, dict):
            return {renamed(key) if key == "client-0" else key: renamed(item) for key, item in value.items()}
        if isinstance(value, list):
            return [renamed(item) for item in value]
        return MARKUP if value == "client-0" else value

    for row in rows:
        row.update(renamed(row))
        if row["type"] == "update-rejected":
            row["detail"] = MARKUP
        if row["type"] == "update-accepted":
            row["metrics"] = {**row["metrics"], MARKUP: 1.0}  # type: ignore[dict-item]
        if row["type"] == "partition-described":
            row["class-names"] = [MARKUP, SCHEME, *map(str, range(8))]
        if row["type"] == "run-started":
            row["config"] = {**row["config"], "dataset": MARKUP, "strategy": SCHEME}  # type: ignore[dict-item]
    return rows


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DashboardProcess]:
    folder: Path = tmp_path_factory.mktemp("hostile")
    with dashboard_process(folder) as started:
        report(started, RUN, hostile_rows())
        yield started


@pytest.mark.parametrize(
    "path",
    [
        "/", "/runs", f"/runs/{RUN}", f"/runs/{RUN}?tab=clients", f"/runs/{RUN}?tab=rounds&round=1",
        f"/runs/{RUN}?tab=security", f"/runs/{RUN}?tab=config", "/events",
    ],
)  # fmt: skip
def test_markup_in_names_and_values_is_shown_as_text(
    path: str, dashboard: DashboardProcess, visitor: Callable[..., Visitor]
) -> None:
    page = visitor(dashboard.url).open(path)
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert page.evaluate("window.pwned") is None
    assert page.locator("#app img, #app script, #app [onerror], #app a[href^='javascript:']").count() == 0


def test_the_client_s_name_is_seen_letter_by_letter(
    dashboard: DashboardProcess, visitor: Callable[..., Visitor]
) -> None:
    page = visitor(dashboard.url).open(f"/runs/{RUN}?tab=clients")
    assert page.get_by_role("rowheader", name=MARKUP).is_visible()


def test_hostile_addresses_lead_nowhere(dashboard: DashboardProcess, visitor: Callable[..., Visitor]) -> None:
    someone = visitor(dashboard.url)
    someone.expected = ("404", "422", "400")
    for path in (
        "/runs/%3Cimg%20src=x%20onerror=window.pwned=1%3E",
        f"/runs/{RUN}?tab=%3Cscript%3E&round=-1e9",
        "/runs/%E0%A4%A",
        "/compare?ids=../../etc,%00",
    ):
        page = someone.page
        page.goto(dashboard.url + path)
        page.wait_for_selector("main h1", state="attached")
        assert page.evaluate("window.pwned") is None
