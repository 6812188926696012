"""Takes the README's pictures of the dashboard, light and dark, from a real run: ``make screenshots``.

It starts the dashboard, lets it train (one client of eight forges its signature), and photographs the run while it is
under way. A picture of 300 kB or more is an error.
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
import urllib.request
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page

from benchmarks.chromium import chromium
from benchmarks.dashboard_server import Server, serving

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "images"
MAX_BYTES = 300_000
WIDTH, HEIGHT = 1280, 860
SETTINGS = {"num-clients": 8, "num-rounds": 12, "alpha": 0.3, "attack": "forge:1", "learning-rate": 0.01}
EARLIER = {**SETTINGS, "num-rounds": 6, "alpha": 1.0, "attack": ""}
TRAINS_MS = 300_000


def ask(server: Server, path: str, body: object) -> dict[str, object]:
    """POST as the operator."""
    request = urllib.request.Request(server.url + path, data=json.dumps(body).encode(), method="POST")
    request.add_header("Authorization", f"Bearer {server.token_path.read_text().strip()}")
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request) as answer:
        found: dict[str, object] = json.load(answer)
        return found


def keep(page: Page, name: str) -> None:
    """Write a picture of what is in sight.

    Raises:
        SystemExit: It is too large for a README.
    """
    page.mouse.move(0, 0)
    page.wait_for_selector(".skeleton", state="detached")
    page.evaluate("document.fonts.ready")
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    path = FOLDER / name
    picture.save(path, optimize=True)
    print(f"{path.relative_to(FOLDER.parent.parent)}  {path.stat().st_size // 1000} kB")
    if path.stat().st_size > MAX_BYTES:
        sys.exit(f"{name} has {path.stat().st_size} bytes, more than {MAX_BYTES}")


def pages(browser: Browser, server: Server) -> None:
    """Start the runs and photograph them."""
    context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}, reduced_motion="reduce")
    page = context.new_page()
    page.set_default_timeout(TRAINS_MS)
    page.goto(str(ask(server, "/internal/login-codes", {})["url"]))
    page.get_by_text("Signed in").wait_for()
    first = ask(server, "/api/v1/runs", {"config": EARLIER, "name": "Even data", "start": True})["run_id"]
    page.goto(f"{server.url}/runs/{first}")
    page.get_by_text("Completed", exact=True).first.wait_for()
    second = ask(server, "/api/v1/runs", {"config": SETTINGS, "name": "Skewed data, one forger", "start": True})[
        "run_id"
    ]
    page.goto(server.url)
    page.locator(".hero").get_by_text("Round 7 of 12").wait_for()
    for theme in ("light", "dark"):
        page.evaluate(f"chooseTheme('{theme}')")
        page.goto(server.url)
        page.locator(".hero .stars").wait_for()
        page.locator(".chart .legend-name", has_text="client-0").first.wait_for()
        keep(page, f"overview-{theme}.png")
    page.goto(f"{server.url}/runs/{second}")
    page.get_by_text("Completed", exact=True).first.wait_for()
    for theme in ("light", "dark"):
        page.evaluate(f"chooseTheme('{theme}')")
        page.goto(f"{server.url}/runs/{second}")
        page.locator(".gantt-row").first.wait_for()
        page.locator(".chart .legend-name", has_text="client-0").first.wait_for()
        page.evaluate("scrollTo(0, document.querySelector('.gantt').closest('section').offsetTop - 420)")
        keep(page, f"run-{theme}.png")
        page.goto(f"{server.url}/runs/new?num-clients=10&alpha=0.2&num-rounds=10")
        page.locator(".class-bars li").nth(9).wait_for()
        keep(page, f"new-run-{theme}.png")
    context.close()


def main() -> None:
    """Take all pictures."""
    FOLDER.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder), max_viewers=10) as server,
        chromium() as browser,
    ):
        pages(browser, server)


if __name__ == "__main__":
    main()
