"""A real chromium against a real dashboard; what goes wrong in a visitor's browser fails the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Playwright, sync_playwright

from benchmarks.chromium import NO_CHROMIUM, chromium_path, launch
from tests.browser.visiting import Furnished, Visitor, furnished_dashboard, is_foreign


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as driver:
        yield driver


@pytest.fixture(scope="session")
def browser(playwright: Playwright) -> Iterator[Browser]:
    path = chromium_path()
    if path is None:
        pytest.skip(NO_CHROMIUM)
    launched = launch(playwright, path)
    yield launched
    launched.close()


@pytest.fixture
def visitor(browser: Browser) -> Iterator[Callable[..., Visitor]]:
    """Make visitors; at the end none of them may have met an error or another origin."""
    visitors: list[Visitor] = []

    def make(url: str, **options: object) -> Visitor:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})  # type: ignore[arg-type]
        context.set_default_timeout(30_000)
        page = context.new_page()
        made = Visitor(context=context, page=page, url=url.rstrip("/"))
        page.on(
            "console",
            lambda message: (
                message.type == "error"
                and made.problems.append(f"{message.text} {(message.location or {}).get('url', '')}")
            ),
        )
        page.on("pageerror", lambda error: made.problems.append(str(error)))
        page.on("request", lambda request: made.requests.append(request.url))
        page.on("websocket", lambda socket: made.requests.append(socket.url))
        visitors.append(made)
        return made

    yield make
    for each in visitors:
        each.context.close()
    for each in visitors:
        unexpected = [text for text in each.problems if not any(known in text for known in each.expected)]
        assert not unexpected
        foreign = [url for url in each.requests if is_foreign(url)]
        assert not foreign


@pytest.fixture(scope="module")
def furnished() -> Iterator[Furnished]:
    with furnished_dashboard() as made:
        yield made
