"""Runs as files to take away."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator

from flask import Response

from app.storage.store import Store
from app.storage.views import RoundView

_COLUMNS = (
    "server_round", "state", "attempt", "started_ts", "seconds", "loss", "accuracy", "train_loss", "accepted",
    "rejected", "late", "capped", "bytes_received", "collect_seconds", "aggregate_seconds", "evaluate_seconds",
    "checkpoint_seconds", "kept_old_model", "model_digest", "epsilon",
)  # fmt: skip
_PAGE = 500
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def export_csv(store: Store, run_id: str) -> Response:
    """Return one row a round."""
    store.run(run_id)
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\r\n")  # RFC 4180
    writer.writerow(_COLUMNS)
    for row in _rounds(store, run_id):
        writer.writerow([_cell(getattr(row, name)) for name in _COLUMNS])
    return _attachment(file.getvalue(), "text/csv", f"{run_id}.csv")


def export_json(store: Store, run_id: str) -> Response:
    """Return the run, its settings and all its rounds."""
    run = store.run(run_id)
    whole = {
        "run": run.model_dump(mode="json"),
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


def _cell(value: object) -> object:
    """Keep a spreadsheet from taking a text for a formula."""
    if value is None:
        return ""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _attachment(text: str, mimetype: str, name: str) -> Response:
    response = Response(text, mimetype=mimetype)
    response.headers.set("Content-Disposition", "attachment", filename=name)
    return response
