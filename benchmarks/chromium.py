"""Starts Debian's chromium, quietly: no look-ups, no updates, no first-run pages, no QUIC."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Playwright, sync_playwright

NO_CHROMIUM = "no chromium: apt-get install chromium, or name one in CONSTELLATION_CHROMIUM"
ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip


def chromium_path() -> str | None:
    """Return where chromium is, or None."""
    return os.environ.get("CONSTELLATION_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")


def launch(playwright: Playwright, path: str) -> Browser:
    """Start it with a profile of its own."""
    return playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the browser, and end it afterwards.

    Raises:
        SystemExit: There is none.
    """
    path = chromium_path()
    if path is None:
        raise SystemExit(NO_CHROMIUM)
    with sync_playwright() as playwright:
        browser = launch(playwright, path)
        try:
            yield browser
        finally:
            browser.close()
