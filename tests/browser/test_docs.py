"""Swagger UI in a real browser: offline, under a policy without scripts from elsewhere, and it can call the API."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.browser.visiting import Visitor
from tests.dashboard_process import dashboard_process


def test_the_api_page_lists_and_calls_operations_without_network_or_errors(
    visitor: Callable[..., Visitor], tmp_path: Path
) -> None:
    with dashboard_process(tmp_path) as server:
        page = visitor(server.url).page
        page.goto(f"{server.url}/docs")
        page.locator("#operations-system-health__health_get, .opblock").first.wait_for()
        assert page.locator(".opblock").count() == sum(
            len(item) for item in server.get("/openapi/openapi.json").json["paths"].values()
        )
        block = page.locator(".opblock", has_text="/api/v1/system/info").first
        block.locator(".opblock-summary-control").click()
        block.get_by_role("button", name="Try it out").click()
        block.get_by_role("button", name="Execute").click()
        block.locator(".live-responses-table .response-col_status", has_text="200").first.wait_for()
