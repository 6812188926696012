"""Puts the report together and writes it: one HTML file that loads nothing and runs no script."""

from __future__ import annotations

import time
from pathlib import Path

from monitor.files import write_atomically
from monitor.report.distribution import distribution
from monitor.report.extras import Extras
from monitor.report.facts import (
    baselines_card,
    environment_card,
    load_card,
    privacy_section,
    repeat_card,
    seeds_card,
    settings_card,
)
from monitor.report.html import Html, element, join
from monitor.report.learning import accuracy_figure, loss_figure, time_figure, updates_figure
from monitor.report.participants import client_table, last_refusals, refusals_by_client, refusals_by_reason
from monitor.report.parts import card, grid, section
from monitor.report.style import CSS
from monitor.report.verdict import key_figures, state_badge, title_of, verdict
from monitor.series import read_series
from monitor.sinks import read_events
from monitor.tables import RunSeries

# A second wall behind the escaping: the browser runs no script and sends no request, whatever the page holds.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def write_report(run_dir: Path, extras: Extras | None = None) -> Path:
    """Write ``report.html`` from ``events.jsonl`` of the same folder, and return its path.

    Raises:
        OSError: The events cannot be read, or the report cannot be written; an earlier one is left as it was.
    """
    series = read_series(read_events(run_dir / "events.jsonl"))
    path = run_dir / "report.html"
    write_atomically(path, render_report(series, extras or Extras()))
    return path


def render_report(series: RunSeries, extras: Extras) -> str:
    """Return the whole page. Sections without data are left out."""
    title = title_of(series)
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="generator", content="Constellation"),
        element("title", f"{title} · {series.run}" if series.run else title),
        element("style", Html(CSS)),
    )
    body = element("body", element("main", _header(series, title), *_sections(series, extras), _footer(series)))
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def _header(series: RunSeries, title: str) -> Html:
    meta = element(
        "p",
        element("span", "Constellation", class_="brand"),
        state_badge(series.summary),
        element("span", f"run {series.run}") if series.run else None,
        element("span", _utc(series.started_ts)) if series.started_ts is not None else None,
        class_="meta",
    )
    return element("header", meta, element("h1", title), verdict(series), key_figures(series))


def _sections(series: RunSeries, extras: Extras) -> list[Html]:
    refusals = series.refusals
    return [
        section(
            "Learning",
            grid(accuracy_figure(series.rounds, extras.baselines), loss_figure(series.rounds)),
            grid(baselines_card(series, extras.baselines), seeds_card(extras.seeds)),
        ),
        section("Privacy", grid(privacy_section(extras.privacy or series.privacy))),
        section("Data of the clients", grid(distribution(series))),
        section("Rounds", grid(time_figure(series.rounds), updates_figure(series.rounds))),
        section(
            "Refused replies",
            grid(refusals_by_reason(refusals), refusals_by_client(refusals)),
            last_refusals(refusals),
        ),
        section("Clients", card("Every client", client_table(series))),
        section("Use and repeat", load_card(extras.how_to_load), repeat_card(series.config, extras.command)),
        section("Settings and environment", grid(settings_card(series.config), environment_card(extras.environment))),
    ]


def _footer(series: RunSeries) -> Html:
    digest = series.summary.model_digest
    model = element("p", "Final model, SHA-256 ", element("code", digest)) if digest else None
    words = "Written by Constellation from the run's own events. This page loads nothing and runs no script."
    return element("footer", join(model, element("p", words)))


def _utc(ts: float) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(ts))
    except (OverflowError, ValueError, OSError):  # a clock far outside any calendar
        return ""
