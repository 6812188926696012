"""Getting about: keyboard, theme, address, sign-in, comparing, exports, and what a crowd of runs or rounds costs."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from app.storage.store import Store
from app.storage.values import RunSource
from tests.browser.visiting import Furnished, Visitor, one_use_link, report
from tests.dashboard_process import DashboardProcess, dashboard_process
from tests.recorded_events import recorded_run

pytestmark = pytest.mark.e2e

MOST_ROWS_DRAWN = 160  # of a table, however many it has
PNG = b"\x89PNG\r\n\x1a\n"


def test_the_first_tab_stop_skips_to_the_content(furnished: Furnished, visitor: Callable[..., Visitor]) -> None:
    page = visitor(furnished.dashboard.url).open("/runs")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()


def test_a_navigation_moves_the_focus_to_the_new_heading(furnished: Furnished, visitor: Callable[..., Visitor]) -> None:
    page = visitor(furnished.dashboard.url).open("/")
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Events").click()
    expect(page.get_by_role("heading", name="Events", level=1)).to_be_focused()
    expect(page).to_have_title("Events · Constellation")
    page.go_back()
    expect(page.get_by_role("heading", name="Overview", level=1)).to_be_visible()


def test_shortcuts_work_are_listed_and_can_be_switched_off(
    furnished: Furnished, visitor: Callable[..., Visitor]
) -> None:
    page = visitor(furnished.dashboard.url).open("/")
    page.keyboard.press("g")
    page.keyboard.press("r")
    expect(page.get_by_role("heading", name="Runs", level=1)).to_be_visible()
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("?gr")  # typed, not obeyed
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.get_by_role("heading", level=1).click()
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keyboard shortcuts")
    expect(dialog).to_be_visible()
    dialog.get_by_label("Single keys work as shortcuts").uncheck()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_tabs_move_with_the_arrow_keys_and_are_in_the_address(
    furnished: Furnished, visitor: Callable[..., Visitor]
) -> None:
    page = visitor(furnished.dashboard.url).open(f"/runs/{furnished.done}")
    page.get_by_role("tab", name="Overview").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Clients")).to_be_focused()
    expect(page).to_have_url(re.compile(r"tab=clients"))
    page.keyboard.press("End")
    expect(page.get_by_role("tab", name="Config")).to_have_attribute("aria-selected", "true")
    page.go_back()
    expect(page.get_by_role("tab", name="Clients")).to_have_attribute("aria-selected", "true")


def test_the_theme_follows_the_system_until_somebody_chooses(
    furnished: Furnished, visitor: Callable[..., Visitor]
) -> None:
    someone = visitor(furnished.dashboard.url, color_scheme="dark")
    page = someone.open("/")
    root = page.locator("html")
    expect(root).to_have_attribute("data-bs-theme", "dark")
    page.get_by_role("button", name="Theme").click()  # automatic -> light
    expect(root).to_have_attribute("data-bs-theme", "light")
    page.reload()
    someone.settle()
    expect(root).to_have_attribute("data-bs-theme", "light")
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_role("button", name="Theme").click()
    expect(root).to_have_attribute("data-bs-theme", "dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light


def test_nothing_moves_for_those_who_asked_for_calm(furnished: Furnished, visitor: Callable[..., Visitor]) -> None:
    page = visitor(furnished.dashboard.url, reduced_motion="reduce").open(f"/runs/{furnished.living}")
    running = "document.getAnimations().filter((each) => each.playState === 'running').length"
    assert page.evaluate(running) == 0


def test_the_one_use_link_signs_in_once_and_leaves_no_trace_in_the_address(
    furnished: Furnished, visitor: Callable[..., Visitor]
) -> None:
    link = one_use_link(furnished.dashboard)
    someone = visitor(furnished.dashboard.url)
    page = someone.open("/")
    expect(page.get_by_role("link", name="Sign in").first).to_be_visible()
    someone.sign_in(link)
    assert "code" not in page.url
    assert page.evaluate("document.cookie") == ""  # HttpOnly: no script can read it
    late = visitor(furnished.dashboard.url)
    late.expected = ("401", "403", "400")
    late.page.goto(link)
    expect(late.page.get_by_role("alert")).to_be_visible()
    assert "code" not in late.page.url


def test_two_runs_are_ticked_and_compared(furnished: Furnished, visitor: Callable[..., Visitor]) -> None:
    page = visitor(furnished.dashboard.url).open("/runs")
    page.get_by_role("checkbox", name=f"Select {furnished.done}").check()
    expect(page.get_by_role("button", name="Compare 1")).to_be_disabled()
    page.get_by_role("checkbox", name=f"Select {furnished.other}").check()
    page.get_by_role("button", name="Compare 2").click()
    expect(page).to_have_url(re.compile(f"ids={furnished.done},{furnished.other}"))
    differing = page.get_by_role("region", name="Settings side by side")
    expect(differing).to_contain_text("num-clients")
    expect(differing).not_to_contain_text("learning-rate")  # equal in both
    page.get_by_role("button", name="Bytes").click()
    expect(page).to_have_url(re.compile("x=bytes"))
    expect(page.get_by_role("button", name="Bytes")).to_have_attribute("aria-pressed", "true")


def test_a_chart_is_also_a_table_and_a_picture(furnished: Furnished, visitor: Callable[..., Visitor]) -> None:
    page = visitor(furnished.dashboard.url).open(f"/runs/{furnished.done}")
    page.get_by_role("button", name="Accuracy: view as table").click()
    rows = page.get_by_role("region", name="Accuracy, as a table").locator("tbody tr")
    expect(rows).to_have_count(13)  # the initial model and twelve rounds
    for chart in ("Loss", "Round 12: who worked when", "Topology"):
        with page.expect_download() as saved:
            page.get_by_role("button", name=f"{chart}: download as PNG").click()
        assert Path(saved.value.path()).read_bytes()[:8] == PNG


def test_search_filter_and_order_of_runs_are_in_the_address(
    furnished: Furnished, visitor: Callable[..., Visitor]
) -> None:
    someone = visitor(furnished.dashboard.url)
    page = someone.open("/runs")
    page.get_by_role("button", name="Accuracy").click()
    expect(page).to_have_url(re.compile("sort=-accuracy"))
    page.get_by_label("State").select_option("completed")
    page.get_by_role("searchbox").fill("crowded")
    expect(page).to_have_url(re.compile(r"q=crowded"))
    expect(page.locator("tbody tr")).to_have_count(1)
    page.reload()
    someone.settle()
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.get_by_role("searchbox")).to_have_value("crowded")


# --- many


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DashboardProcess]:
    """Make a dashboard over 1,000 runs, and one run of many clients and rounds."""
    folder = tmp_path_factory.mktemp("crowd")
    state = folder / ".constellation"
    state.mkdir(mode=0o700)
    store = Store.open(f"sqlite:///{state / 'store.db'}", str(state / "objects"))
    start = time.time() - 100_000
    for number in range(1000):
        run = f"run-{number:04d}"
        store.ingest(
            run, recorded_run(run, num_clients=1, num_rounds=1, seed=number, start=start + 60 * number), RunSource()
        )  # type: ignore[arg-type]
    store.close()
    with dashboard_process(folder) as dashboard:
        report(dashboard, "many-clients", recorded_run("many-clients", num_clients=200, num_rounds=2, start=start))
        report(dashboard, "many-rounds", recorded_run("many-rounds", num_clients=2, num_rounds=300, start=start))
        yield dashboard


def requests_of(someone: Visitor, path: str) -> tuple[Page, list[str]]:
    someone.requests.clear()
    page = someone.open(path)
    return page, [url for url in someone.requests if "/api/" in url]


def test_a_thousand_runs_are_one_page_of_fifty_and_a_few_requests(
    crowd: DashboardProcess, visitor: Callable[..., Visitor]
) -> None:
    page, requests = requests_of(visitor(crowd.url), "/runs")
    expect(page.locator("tbody tr:not(.table-space)")).to_have_count(50)
    assert len(requests) <= 5
    page.get_by_role("button", name="Show 100 more").click()
    expect(page.get_by_role("status").filter(has_text="150 or more runs")).to_be_visible()
    assert page.locator("tbody tr").count() <= MOST_ROWS_DRAWN


@pytest.mark.parametrize(
    ("run", "tab", "label"), [("many-clients", "clients", "Clients"), ("many-rounds", "rounds", "Rounds")]
)
def test_a_long_table_draws_what_is_in_sight_and_scrolls_to_its_end(
    run: str, tab: str, label: str, crowd: DashboardProcess, visitor: Callable[..., Visitor]
) -> None:
    page, requests = requests_of(visitor(crowd.url), f"/runs/{run}?tab={tab}")
    table = page.get_by_role("region", name=label, exact=True)
    assert table.locator("tbody tr").count() <= MOST_ROWS_DRAWN
    assert len(requests) <= 8
    table.evaluate("(frame) => { frame.scrollTop = frame.scrollHeight; }")
    last = "client-199" if tab == "clients" else "initial model"
    expect(table.get_by_text(last)).to_be_visible()
    assert table.locator("tbody tr").count() <= MOST_ROWS_DRAWN


def test_two_hundred_clients_are_a_band_and_not_two_hundred_lines(
    crowd: DashboardProcess, visitor: Callable[..., Visitor]
) -> None:
    page, _ = requests_of(visitor(crowd.url), "/runs/many-clients")
    names = page.locator(".chart").first.locator(".legend-name").all_inner_texts()
    assert names == ["global model", "clients: median and p10–p90"]
