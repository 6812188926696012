"""Questions about the lines of charts: a run's global model, its clients, and runs beside each other.

Names of lines: ``loss`` and ``accuracy`` are the global model's (on the central test set, else the clients' mean),
``client_loss`` and ``client_accuracy`` its mean over the clients' own data, ``train_loss`` and ``train_accuracy`` what
clients report of their training; ``seconds``, ``accepted``, ``rejected``, ``late``, ``bytes_received`` and ``epsilon``
are the round's. Any other measure goes by its own name, or with where it comes from before it: ``train/f1``,
``evaluate/f1``, ``clients/f1``, ``central/f1``. A client's lines are those of its own reports.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from sqlalchemy import Connection, select

from app.storage.cursors import text_of
from app.storage.run_queries import config_of, one_run
from app.storage.scoring import or_mean
from app.storage.tables import CLIENTS, METRICS, ROUNDS, UPDATES
from app.storage.thinning import thin
from app.storage.values import Scalar
from app.storage.views import Band, ChangedKey, Comparison, MetricsView, RunView, Series
from monitor.metrics import as_number
from shared.errors import BadQuery

MAX_NAMES = 20
MAX_CLIENTS = 50
MAX_RUNS = 20
FEW_CLIENTS = 12  # up to so many, each client's line can be told from the others
SOURCES = ("central", "clients", "train", "evaluate")
USUAL = ("accuracy", "loss", "client_accuracy", "client_loss", "train_loss")
_COMPARED_POINTS = 500

Point = tuple[float, float]


def _mean(spread: str) -> float | None:
    return or_mean(None, spread)


_OF_ROUND: Mapping[str, Callable[[Any], float | None]] = {
    "loss": lambda row: or_mean(row.loss, row.client_loss),
    "accuracy": lambda row: or_mean(row.accuracy, row.client_accuracy),
    "client_loss": lambda row: _mean(row.client_loss),
    "client_accuracy": lambda row: _mean(row.client_accuracy),
    "train_loss": lambda row: row.train_loss,
    "train_accuracy": lambda row: row.train_accuracy,
    "seconds": lambda row: row.seconds if row.is_closed else None,
    "accepted": lambda row: float(row.accepted),
    "rejected": lambda row: float(row.rejected),
    "late": lambda row: float(row.late),
    "bytes_received": lambda row: float(row.bytes_received),
    "epsilon": lambda row: row.epsilon,
}
_ROUND_COLUMNS = tuple(
    ROUNDS.c[name]
    for name in (
        "server_round", "loss", "accuracy", "client_loss", "client_accuracy", "train_loss", "train_accuracy",
        "seconds", "accepted", "rejected", "late", "bytes_received", "epsilon", "is_closed",
    )
)  # fmt: skip


def metrics_of(
    connection: Connection,
    run_key: int,
    run_id: str,
    *,
    names: Sequence[str],
    clients: Sequence[str] | None,
    max_points: int,
) -> MetricsView:
    """Return lines over rounds.

    Args:
        connection: Where from.
        run_key: The run's number.
        run_id: The run.
        names: Which lines; none is the usual ones.
        clients: Whose own lines too: these; none named is each client's where they are few; None is nobody's.
        max_points: Of one line.

    Raises:
        BadQuery: There are too many names or clients.
    """
    for field, given, most in (("names", names, MAX_NAMES), ("clients", clients or (), MAX_CLIENTS)):
        if len(given) > most:
            raise BadQuery(field, f"at most {most}, got {len(given)}")
    wanted = [text_of("names", name) for name in dict.fromkeys(names or USUAL)]
    rows = connection.execute(
        select(*_ROUND_COLUMNS).where(ROUNDS.c.run_key == run_key).order_by(ROUNDS.c.server_round)
    ).all()
    series = [_global_series(connection, run_key, rows, name) for name in wanted]
    whose = _whose(connection, run_key, clients)
    series += _client_series(connection, run_key, wanted, whose)
    bands = [band for name in wanted if (band := _band(rows, name)) is not None]
    return MetricsView.model_construct(
        run_id=run_id,
        series=tuple(_thinned(line, max_points) for line in series if line.points),
        bands=tuple(_thinned_band(band, max_points) for band in bands if band.points),
    )


def _global_series(connection: Connection, run_key: int, rows: Sequence[Any], name: str) -> Series:
    of_round = _OF_ROUND.get(name)
    if of_round is not None:
        values = [(float(row.server_round), of_round(row)) for row in rows]
        return _series(name, "", [(x, value) for x, value in values if value is not None])
    source, _, measure = name.rpartition("/")
    if source not in SOURCES:
        source, measure = "central", name
    table = METRICS.c
    query = (
        select(table.server_round, table.value)
        .where(table.run_key == run_key, table.source == source, table.name == measure)
        .order_by(table.server_round)
    )
    return _series(name, "", [(float(number), value) for number, value in connection.execute(query)])


def _series(name: str, client: str, points: Sequence[Point]) -> Series:
    return Series.model_construct(name=name, client=client, points=tuple(points))


def _thinned(line: Series, max_points: int) -> Series:
    values = [value for _, value in line.points]
    return _series(line.name, line.client, thin(line.points, values, max_points))


def _band(rows: Sequence[Any], name: str) -> Band | None:
    """Return the spread over clients of a measure that each of them reports."""
    measure = name.removeprefix("client_")
    if measure not in ("loss", "accuracy"):
        return None
    points = []
    for row in rows:
        spread = json.loads(getattr(row, f"client_{measure}") or "{}")
        if "p10" in spread:
            points.append((float(row.server_round), spread["p10"], spread["median"], spread["p90"]))
    return Band.model_construct(name=name, points=tuple(points))


def _thinned_band(band: Band, max_points: int) -> Band:
    points = thin(band.points, [median for _, _, median, _ in band.points], max_points)
    return Band.model_construct(name=band.name, points=tuple(points))


def _whose(connection: Connection, run_key: int, clients: Sequence[str] | None) -> list[str]:
    if clients is None:
        return []
    if clients:
        return [text_of("clients", client) for client in dict.fromkeys(clients)]
    query = (
        select(CLIENTS.c.client)
        .where(CLIENTS.c.run_key == run_key)
        .order_by(CLIENTS.c.sort_key, CLIENTS.c.client)
        .limit(FEW_CLIENTS + 1)
    )
    found = list(connection.execute(query).scalars())
    return found if len(found) <= FEW_CLIENTS else []


def _client_series(connection: Connection, run_key: int, names: Sequence[str], clients: Sequence[str]) -> list[Series]:
    """Return what clients report of themselves: of their evaluation, or where they have none, of their training."""
    if not clients:
        return []
    table = UPDATES.c
    columns = (
        table.client, table.phase, table.server_round, table.loss, table.accuracy, table.metrics, table.norm,
        table.seconds, table.compute_seconds, table.num_examples, table.num_bytes,
    )  # fmt: skip
    query = (
        select(*columns)
        .where(table.run_key == run_key, table.client.in_(clients), table.state == "accepted")
        .order_by(table.server_round)
    )
    by_client: dict[str, dict[str, list[Any]]] = {client: {} for client in clients}
    for row in connection.execute(query):
        by_client[row.client].setdefault(row.phase, []).append(row)
    return [
        _series(name, client, points)
        for name in names
        for client in clients
        if (points := _client_points(name, by_client[client]))
    ]


_OF_UPDATE = ("norm", "seconds", "compute_seconds", "num_examples", "num_bytes")


def _client_points(name: str, phases: Mapping[str, Sequence[Any]]) -> list[Point]:
    if name in ("client_loss", "client_accuracy"):
        return []  # the same as loss and accuracy
    if name in _OF_UPDATE:
        return _points(phases.get("train", ()), lambda row: getattr(row, name))
    if name in ("train_loss", "train_accuracy"):
        return _points(phases.get("train", ()), lambda row: getattr(row, name.removeprefix("train_")))
    source, _, measure = name.rpartition("/")
    order = (source,) if source in ("train", "evaluate") else ("evaluate", "train")
    for phase in order:
        found = _points(phases.get(phase, ()), lambda row: _measure(row, measure if source else name))
        if found:
            return found
    return []


def _measure(row: Any, name: str) -> float | None:
    if name in ("loss", "accuracy"):
        value: float | None = getattr(row, name)
        return value
    return as_number(json.loads(row.metrics).get(name)) if row.metrics else None


def _points(rows: Sequence[Any], value_of: Callable[[Any], float | None]) -> list[Point]:
    values = ((float(row.server_round), value_of(row)) for row in rows)
    return [(x, float(value)) for x, value in values if value is not None]


# --- runs beside each other


def compare(
    connection: Connection, run_ids: Sequence[str], x: Literal["round", "time", "bytes"], now: float
) -> Comparison:
    """Put runs beside each other: what differs in their settings, and how they learned over ``x``.

    Raises:
        NotFound: There is no such run.
        BadQuery: There are too many, or none.
    """
    if x not in ("round", "time", "bytes"):
        raise BadQuery("x", "must be round, time or bytes")
    wanted = list(dict.fromkeys(run_ids))
    if not 1 <= len(wanted) <= MAX_RUNS:
        raise BadQuery("ids", f"name from 1 to {MAX_RUNS} runs")
    found = [one_run(connection, run_id, now) for run_id in wanted]
    lines = [_learning(connection, key, run, x) for key, run in found]
    return Comparison.model_construct(
        runs=tuple(run for _, run in found),
        x=x,
        changed=_changed([config_of(connection, key) for key, _ in found]),
        accuracy=tuple(accuracy for accuracy, _ in lines),
        loss=tuple(loss for _, loss in lines),
    )


def _changed(configs: Sequence[Mapping[str, Scalar]]) -> tuple[ChangedKey, ...]:
    keys = dict.fromkeys(key for config in configs for key in config)
    rows = ((key, tuple(config.get(key) for config in configs)) for key in keys)
    return tuple(
        ChangedKey.model_construct(key=key, values=values)
        for key, values in rows
        if any((type(value), value) != (type(values[0]), values[0]) for value in values[1:])
    )


def _learning(connection: Connection, run_key: int, run: RunView, x: str) -> tuple[Series, Series]:
    """Return accuracy and loss of a run's closed rounds over rounds, seconds of rounds, or bytes received."""
    table = ROUNDS.c
    query = (
        select(*_ROUND_COLUMNS)
        .where(table.run_key == run_key, table.is_closed | (table.server_round == 0))
        .order_by(table.server_round)
    )
    accuracy: list[Point] = []
    loss: list[Point] = []
    seconds = num_bytes = 0.0
    for row in connection.execute(query):
        seconds += row.seconds
        num_bytes += row.bytes_received
        place = {"round": float(row.server_round), "time": seconds, "bytes": num_bytes}[x]
        for points, name in ((accuracy, "accuracy"), (loss, "loss")):
            if (value := _OF_ROUND[name](row)) is not None:
                points.append((place, value))
    lines = (_series(run.run_id, "", accuracy), _series(run.run_id, "", loss))
    return _thinned(lines[0], _COMPARED_POINTS), _thinned(lines[1], _COMPARED_POINTS)
