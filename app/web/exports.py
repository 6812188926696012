"""Runs as files to take away."""

from __future__ import annotations

import json
from collections.abc import Iterator

from flask import Response

from app.storage.store import Store
from app.storage.views import RoundView
from monitor.metrics_csv import metrics_csv

_PAGE = 500


def export_csv(store: Store, run_id: str) -> Response:
    """Return one row a round, as the run's own metrics.csv has them."""
    return _attachment(metrics_csv(store.round_rows(run_id)), "text/csv", f"{run_id}.csv")


def export_json(store: Store, run_id: str) -> Response:
    """Return the run, its settings and all its rounds."""
    run = store.run(run_id)
    whole = {
        "run": json.loads(run.model_dump_json()),
        "config": store.config(run_id),
        "rounds": [json.loads(row.model_dump_json()) for row in _rounds(store, run_id)],
    }
    return _attachment(json.dumps(whole), "application/json", f"{run_id}.json")


def _rounds(store: Store, run_id: str) -> Iterator[RoundView]:
    cursor = None
    while True:
        page = store.rounds(run_id, limit=_PAGE, cursor=cursor)
        yield from page.items
        cursor = page.next_cursor
        if cursor is None:
            return


def _attachment(text: str, mimetype: str, name: str) -> Response:
    response = Response(text, mimetype=mimetype)
    response.headers.set("Content-Disposition", "attachment", filename=name)
    return response
