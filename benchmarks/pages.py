"""How long a person waits for the pages.

``python -m benchmarks.pages --json`` starts the real dashboard over a store with 1,000 runs and one run of 200 clients
and 500 rounds, and opens pages in chromium with an empty cache. ``first_contentful_paint_ms`` is the browser's own
figure; the others are milliseconds from the navigation until the page has drawn its data (no skeleton is left), each
the median of five visits. ``scroll_frame_ms`` is the longest frame while the table of 500 rounds scrolls to its end.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import tempfile
from pathlib import Path

from playwright.sync_api import Browser

from app.control.dashboards import STATE_FOLDER
from app.storage.store import Store
from app.storage.values import RunSource
from benchmarks.chromium import chromium
from benchmarks.dashboard_server import serving
from benchmarks.event_rows import rows_of

VISITS = 5
BIG = "big-run"
BATCH = 500
_PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
_SCROLL = """(frame) => new Promise((done) => {
  let longest = 0, last = performance.now();
  const step = (now) => {
    longest = Math.max(longest, now - last);
    last = now;
    frame.scrollTop += 400;
    if (frame.scrollTop + frame.clientHeight + 1 < frame.scrollHeight) requestAnimationFrame(step);
    else done(longest);
  };
  requestAnimationFrame((now) => { last = now; requestAnimationFrame(step); });
})"""


def fill(output: Path, *, runs: int, clients: int, rounds: int) -> None:
    """Write the store that the dashboard will open."""
    folder = output / STATE_FOLDER
    folder.mkdir(mode=0o700)
    with Store.open(f"sqlite:///{folder / 'store.db'}", str(folder / "objects")) as store:
        for number in range(runs):
            name = f"run-{number:04d}"
            store.ingest(name, list(rows_of(name, num_clients=1, num_rounds=2, seed=number)), RunSource())
        rows = rows_of(BIG, num_clients=clients, num_rounds=rounds)
        while batch := list(itertools.islice(rows, BATCH)):
            store.ingest(BIG, batch, RunSource())


def visit(browser: Browser, address: str) -> tuple[float, float]:
    """Open a page with nothing cached; return milliseconds to the first paint and to its data."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto(address, wait_until="commit")
    page.wait_for_selector("main[aria-busy=false] .data-table, main[aria-busy=false] .plot canvas")
    page.wait_for_selector(".skeleton", state="detached")
    drawn = page.evaluate("performance.now()")
    paint = page.evaluate(_PAINT)
    context.close()
    return float(paint), float(drawn)


def scroll_frame_ms(browser: Browser, address: str) -> float:
    """Return the longest frame while the long table scrolls."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto(address)
    table = page.get_by_role("region", name="Rounds", exact=True)
    table.wait_for()
    longest = float(table.evaluate(_SCROLL))
    context.close()
    return longest


def measure(*, runs: int, clients: int, rounds: int) -> dict[str, float]:
    """Measure once."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder)
        fill(output, runs=runs, clients=clients, rounds=rounds)
        with serving(output, max_viewers=20) as server, chromium() as browser:
            addresses = {
                "overview": "/",
                "runs": "/runs",
                "big_run": f"/runs/{BIG}",
                "rounds": f"/runs/{BIG}?tab=rounds",
            }
            times = {
                name: [visit(browser, server.url + path) for _ in range(VISITS)] for name, path in addresses.items()
            }
            result = {f"{name}_ms": statistics.median(drawn for _, drawn in found) for name, found in times.items()}
            result["first_contentful_paint_ms"] = statistics.median(paint for paint, _ in times["overview"])
            result["scroll_frame_ms"] = scroll_frame_ms(browser, server.url + addresses["rounds"])
            return {name: round(value, 1) for name, value in result.items()}


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description="How long a person waits for the pages.")
    parser.add_argument("--json", action="store_true", help="one JSON object and nothing else")
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=500)
    options = parser.parse_args()
    figures = {**measure(runs=options.runs, clients=options.clients, rounds=options.rounds)}
    sizes = {"runs": options.runs, "clients": options.clients, "rounds": options.rounds}
    if options.json:
        print(json.dumps({**sizes, **figures}))
        return
    for name, value in figures.items():
        print(f"{name:28} {value:8.1f}")


if __name__ == "__main__":
    main()
