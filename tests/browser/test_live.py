"""What a viewer sees while a run trains: new rounds, refusals, a reload, a server that goes away and comes back."""

from __future__ import annotations

import csv
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.visiting import Visitor, report
from tests.dashboard_process import DashboardProcess, dashboard_process
from tests.recorded_events import recorded_run

pytestmark = pytest.mark.e2e

RUN = "20260101-120000-live00"
AWAY = ("ERR_CONNECTION_REFUSED", "WebSocket connection", "net::ERR_", "Failed to load resource")


@pytest.fixture
def dashboard(tmp_path: Path) -> Iterator[DashboardProcess]:
    with dashboard_process(tmp_path) as started:
        yield started


def rows_of(num_rounds: int = 8, **more: object) -> list[dict[str, object]]:
    return recorded_run(RUN, num_clients=6, num_rounds=num_rounds, start=time.time() - 60, **more)  # type: ignore[arg-type]


def until_closed(rows: list[dict[str, object]], number: int) -> int:
    """Return how many rows there are up to the end of a round."""
    for index, row in enumerate(rows):
        if row["type"] == "round-closed" and row["server-round"] == number:
            return index + 1
    raise ValueError(f"no round {number}")


def facts(page: Page) -> str:
    return page.locator(".run-facts").inner_text()


def is_live(page: Page) -> None:
    expect(page.locator("[data-live]")).to_have_attribute("data-live", "live")


def last_row_of_csv(page: Page, chart: str) -> dict[str, str]:
    """Return the last line of what a chart draws."""
    with page.expect_download() as saved:
        page.get_by_role("button", name=f"{chart}: download as CSV").click()
    with Path(saved.value.path()).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))[-1]


def test_a_run_that_starts_appears_on_the_overview_by_itself(
    dashboard: DashboardProcess, visitor: Callable[..., Visitor]
) -> None:
    page = visitor(dashboard.url).open("/")
    expect(page.get_by_text("No run yet")).to_be_visible()
    is_live(page)
    rows = rows_of()
    report(dashboard, RUN, rows[: until_closed(rows, 2) + 6])
    expect(page.get_by_role("heading", name=RUN)).to_be_visible()
    expect(page.locator(".hero")).to_contain_text("Round 3 of 8")
    expect(page.locator(".hero-reason")).not_to_be_empty()


def test_the_last_point_of_a_chart_is_the_api_s_while_rounds_come_in(
    dashboard: DashboardProcess, visitor: Callable[..., Visitor]
) -> None:
    rows = rows_of()
    first = until_closed(rows, 2)
    report(dashboard, RUN, rows[:first])
    page = visitor(dashboard.url).open(f"/runs/{RUN}")
    is_live(page)
    second = until_closed(rows, 5)
    report(dashboard, RUN, rows[first:second])
    expect(page.locator(".run-facts")).to_contain_text("5 / 8")
    run = dashboard.get(f"/api/v1/runs/{RUN}").json
    for chart, key in (("Accuracy", "accuracy"), ("Loss", "loss")):
        row = last_row_of_csv(page, chart)
        assert row["round"] == "5"
        assert float(row["global model"]) == run[key]
    accuracy = f"{100 * run['accuracy']:.1f}%"
    expect(page.locator(".legend-main .legend-value").first).to_have_text(accuracy)


def test_a_refused_update_is_in_the_feed_with_its_reason(
    dashboard: DashboardProcess, visitor: Callable[..., Visitor]
) -> None:
    rows = rows_of(rejected=0.0, late=0.0)
    at = until_closed(rows, 2)
    report(dashboard, RUN, rows[:at])
    page = visitor(dashboard.url).open(f"/runs/{RUN}?tab=security")
    is_live(page)
    expect(page.get_by_text("Nothing was refused")).to_be_visible()
    received = next(index for index in range(at, len(rows)) if rows[index]["type"] == "update-received")
    refused = {
        **{key: rows[received][key] for key in ("ts", "run", "server-round", "phase", "client", "node-id")},
        "seq": int(str(rows[received]["seq"])) + 1, "type": "update-rejected",
        "reason": "bad-signature", "detail": "not signed by key 0123",
    }  # fmt: skip
    report(dashboard, RUN, [*rows[at : received + 1], refused])
    feed = page.locator(".feed li").first
    expect(feed).to_contain_text(str(refused["client"]))
    expect(feed).to_contain_text("bad-signature")
    expect(feed).to_contain_text("The signature does not match the client's key")
    expect(feed).to_contain_text("not signed by key 0123")


def test_a_reload_in_the_middle_shows_the_same_and_goes_on(
    dashboard: DashboardProcess, visitor: Callable[..., Visitor]
) -> None:
    rows = rows_of()
    middle = until_closed(rows, 3)
    report(dashboard, RUN, rows[:middle])
    someone = visitor(dashboard.url)
    page = someone.open(f"/runs/{RUN}?tab=rounds&round=2")
    before = facts(page)
    page.reload()
    someone.settle()
    assert facts(page) == before
    expect(page.get_by_role("heading", name="Round 2: who worked when")).to_be_visible()
    report(dashboard, RUN, rows[middle:])
    expect(page.locator(".run-facts")).to_contain_text("8 / 8")
    expect(page.locator(".run-head .pill")).to_have_text("Completed")


def test_after_a_restart_of_the_server_the_page_catches_up_without_a_gap(
    tmp_path: Path, visitor: Callable[..., Visitor]
) -> None:
    rows = rows_of(num_rounds=9)
    first, second = until_closed(rows, 3), until_closed(rows, 6)
    with dashboard_process(tmp_path) as dashboard:
        port = dashboard.port
        report(dashboard, RUN, rows[:first])
        someone = visitor(dashboard.url)
        someone.expected = AWAY
        page = someone.open(f"/runs/{RUN}?tab=rounds")
        is_live(page)
    expect(page.locator("[data-live]")).to_contain_text("Reconnecting")
    expect(page.locator("[data-live]")).to_contain_text("old")  # and how old what one sees is
    with dashboard_process(tmp_path, port) as dashboard:
        report(dashboard, RUN, rows[first:second])
        is_live(page)
        expect(page.locator(".run-facts")).to_contain_text("6 / 9")
        # Rounds that came while nobody listened are there, each once.
        numbers = page.locator('[aria-label="Rounds"] tbody th').all_inner_texts()
        assert [re.split(r"\s", text)[0] for text in numbers] == ["6", "5", "4", "3", "2", "1", "initial"]
        report(dashboard, RUN, rows[second:])
        expect(page.locator(".run-facts")).to_contain_text("9 / 9")


def test_a_viewer_too_many_polls_and_still_sees_the_run_go_on(tmp_path: Path, visitor: Callable[..., Visitor]) -> None:
    rows = rows_of()
    middle = until_closed(rows, 3)
    with dashboard_process(tmp_path, max_viewers=1) as dashboard:
        report(dashboard, RUN, rows[:middle])
        early = visitor(dashboard.url)
        early.expected = AWAY  # the server ends before the browsers do
        is_live(early.open(f"/runs/{RUN}"))
        someone = visitor(dashboard.url)
        someone.expected = AWAY
        second = someone.open(f"/runs/{RUN}")
        expect(second.locator("[data-live]")).to_have_attribute("data-live", "polling")
        report(dashboard, RUN, rows[middle:])
        expect(second.locator(".run-facts")).to_contain_text("8 / 8")


def test_events_arrive_newest_first_and_can_be_held_still(
    dashboard: DashboardProcess, visitor: Callable[..., Visitor]
) -> None:
    rows = rows_of()
    middle = until_closed(rows, 1)
    report(dashboard, RUN, rows[:middle])
    page = visitor(dashboard.url).open("/events")
    is_live(page)
    expect(page.locator(".event").first).to_contain_text("Round 1 closed")
    page.get_by_role("button", name="Hold still").click()
    later = until_closed(rows, 2)
    report(dashboard, RUN, rows[middle:later])
    expect(page.get_by_role("button", name=re.compile(r"Go on \(\d+ new\)"))).to_be_visible()
    expect(page.locator(".event").first).to_contain_text("Round 1 closed")
    page.get_by_role("button", name=re.compile("Go on")).click()
    expect(page.locator(".event").first).to_contain_text("Round 2 closed")
    page.get_by_role("button", name="Refusals").click()
    expect(page).to_have_url(re.compile("type=update-rejected"))
    expect(page.locator(".event-type").filter(has_not_text=re.compile("update-(rejected|late|capped)"))).to_have_count(
        0
    )
