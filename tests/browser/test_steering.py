"""Real runs, started and steered from the page: these train."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.visiting import Visitor, one_use_link
from tests.dashboard_process import DashboardProcess, dashboard_process

pytestmark = pytest.mark.e2e

TRAINS_MS = 150_000  # a process that imports torch on a busy machine takes its time
SMALL = "dataset=synthetic&num-examples=400&model=linear&num-clients=3&device=cpu&workers=1"


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DashboardProcess]:
    folder: Path = tmp_path_factory.mktemp("steered")
    with dashboard_process(folder) as started:
        yield started


@pytest.fixture
def operator(dashboard: DashboardProcess, visitor: Callable[..., Visitor]) -> Visitor:
    someone = visitor(dashboard.url)
    someone.sign_in(one_use_link(dashboard))
    return someone


def test_a_run_started_from_the_page_is_seen_to_finish(dashboard: DashboardProcess, operator: Visitor) -> None:
    page = operator.page
    page.goto(f"{dashboard.url}/runs/new?{SMALL}&num-rounds=3&attack=forge:1")
    page.get_by_label("Name").fill("From the page")
    expect(page.get_by_role("region", name="As a command")).to_contain_text("--num-rounds 3", timeout=TRAINS_MS)
    page.get_by_role("button", name="Start run").click()
    page.wait_for_url(re.compile(r"/runs/\d{8}-"))
    expect(page.get_by_role("heading", level=1)).to_have_text("From the page")
    expect(page.locator(".run-head .pill")).to_have_text("Completed", timeout=TRAINS_MS)
    expect(page.locator(".run-facts")).to_contain_text("3 / 3")
    expect(page.get_by_role("tab", name="Security")).to_contain_text("3")  # the forger's, one a round
    run = dashboard.get(f"/api/v1/runs/{page.url.rpartition('/')[2]}").json
    assert run["state"] == "completed"
    expect(page.locator(".legend-main .legend-value").first).to_have_text(f"{100 * run['accuracy']:.1f}%")


def test_a_run_is_paused_says_so_and_goes_on(dashboard: DashboardProcess, operator: Visitor) -> None:
    page = operator.page
    page.goto(f"{dashboard.url}/runs/new?{SMALL}&num-rounds=400")
    page.get_by_role("button", name="Start run").click()
    page.wait_for_url(re.compile(r"/runs/\d{8}-"))
    state = page.locator(".run-head .pill")
    expect(state).to_have_text("Running", timeout=TRAINS_MS)
    page.get_by_role("button", name="Pause").click()
    expect(state).to_have_text("Paused", timeout=TRAINS_MS)
    expect(page.locator("[data-reason]")).to_contain_text(re.compile("paused", re.IGNORECASE))
    page.get_by_role("button", name="Resume").click()
    expect(state).to_have_text("Running", timeout=TRAINS_MS)
    page.get_by_role("button", name="Stop").click()
    dialog = page.get_by_role("dialog", name="Stop this run?")
    dialog.get_by_role("button", name="Cancel").click()
    expect(state).to_have_text("Running")
    page.get_by_role("button", name="Stop").click()
    dialog.get_by_role("button", name="Stop the run").click()
    expect(state).to_have_text("Stopped", timeout=TRAINS_MS)
    expect(page.get_by_role("button", name="Resume")).to_be_visible()


def test_a_wrong_setting_is_said_beside_its_field(dashboard: DashboardProcess, operator: Visitor) -> None:
    operator.expected = ("422",)
    page = operator.page
    page.goto(f"{dashboard.url}/runs/new?{SMALL}")
    field = page.get_by_label("num-clients")
    field.fill("0")
    expect(page.locator("#field-num-clients-error")).to_contain_text("num-clients", timeout=TRAINS_MS)
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_role("button", name="Start run")).to_be_disabled()
    field.fill("two")
    expect(page.locator("#field-num-clients-error")).to_be_visible(timeout=TRAINS_MS)
    field.fill("4")
    expect(page.locator("#field-num-clients-error")).to_have_count(0, timeout=TRAINS_MS)
    expect(page.get_by_role("button", name="Start run")).to_be_enabled()


def test_the_split_is_drawn_from_the_real_labels_before_anything_starts(
    dashboard: DashboardProcess, operator: Visitor
) -> None:
    page = operator.page
    page.goto(f"{dashboard.url}/runs/new?dataset=mnist-sample&num-clients=6&alpha=0.2")
    bars = page.locator(".class-bars li")
    expect(bars).to_have_count(6, timeout=TRAINS_MS)
    page.get_by_label("num-clients").fill("9")
    expect(bars).to_have_count(9, timeout=TRAINS_MS)
    with page.expect_download() as saved:
        page.get_by_role("button", name="How the data is split: download as CSV").click()
    lines = Path(saved.value.path()).read_text(encoding="utf-8").splitlines()
    assert sum(int(line.split(",")[1]) for line in lines[1:]) == 8000  # all of the sample's training images


def test_a_reader_sees_how_to_sign_in_where_an_action_would_be(
    dashboard: DashboardProcess, visitor: Callable[..., Visitor]
) -> None:
    page = visitor(dashboard.url).open("/runs/new")
    expect(page.get_by_role("button", name="Start run")).to_have_count(0)
    expect(page.locator(".start-box").get_by_role("link", name="sign in")).to_be_visible()
