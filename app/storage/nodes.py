"""Processes that train, as their samples tell: the last one of each, and a history that never grows beyond a bound."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from app.storage.checking import MAX_COUNT, require_name, to_json
from app.storage.cursors import text_of
from app.storage.natural import sort_key
from app.storage.tables import NODES, RUNS, SAMPLES
from app.storage.thinning import thin
from app.storage.upsert import upsert
from app.storage.values import NodeSample, SamplePoint
from app.storage.views import NodeView
from monitor.health import MAX_CLOCK_SKEW_S, liveness
from shared.errors import BadEvent, NotFound

MAX_SAMPLES = 1_000  # of one call
MAX_NODES = 20_000  # of one run: whoever holds the token cannot fill the disk with names
MAX_KEPT = 1_200  # of one node; when there are more, every second one of the older half goes
RECENT = 600  # that are all kept: 20 minutes at a sample each 2 s
MAX_NODES_SHOWN = 200
MAX_CAPABILITIES_CHARS = 10_000
FORGOTTEN_AFTER_S = 7 * 24 * 3600.0  # a node without a run that was not seen for so long

_FIGURES = ("cpu_percent", "memory_percent", "gpu_percent")
_COUNTS = ("rss_bytes", "sent_bytes", "received_bytes", "gpu_memory_bytes")
_MEASURED = (*_FIGURES, *_COUNTS)
_KINDS = ("server", "worker", "client")


def add_samples(connection: Connection, run: str | None, samples: Sequence[NodeSample], now: float) -> None:
    """Keep samples. A node was seen when its sample came: its own clock may be wrong.

    Raises:
        BadEvent: A sample is not what it should be; nothing is written.
    """
    scope = require_name("run", run) if run is not None else ""
    if len(samples) > MAX_SAMPLES:
        raise BadEvent("samples", f"at most {MAX_SAMPLES} a call, got {len(samples)}")
    for index, sample in enumerate(samples):
        _check(f"samples[{index}]", sample)
    by_node: dict[str, list[NodeSample]] = {}
    for sample in samples:
        by_node.setdefault(sample.node, []).append(sample)
    if not by_node:
        return
    run_key = connection.execute(select(RUNS.c.id).where(RUNS.c.run_id == scope)).scalar() if scope else None
    known = _known(connection, scope, list(by_node))
    _make_room(connection, scope, len(by_node) - len(known), now)
    for node, mine in by_node.items():
        _add(connection, scope, run_key, known.get(node), node, mine, now)


def _check(path: str, sample: NodeSample) -> None:
    require_name(f"{path}.node", sample.node)
    if sample.host:
        require_name(f"{path}.host", sample.host)
    if sample.kind not in _KINDS:
        raise BadEvent(f"{path}.kind", f"must be one of {', '.join(_KINDS)}")
    for name in ("ts", *_FIGURES):
        value = getattr(sample, name)
        if value is None and name != "ts":
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise BadEvent(f"{path}.{name}", "must be a finite number from 0")
    for name in _COUNTS:
        value = getattr(sample, name)
        if value is not None and (type(value) is not int or not 0 <= value <= MAX_COUNT):
            raise BadEvent(f"{path}.{name}", f"must be a whole number from 0 to {MAX_COUNT}")
    _capabilities(path, sample)


def _capabilities(path: str, sample: NodeSample) -> str:
    try:
        text = to_json(dict(sample.capabilities))
    except (ValueError, TypeError, RecursionError):
        raise BadEvent(f"{path}.capabilities", "cannot be written as JSON") from None
    if len(text) > MAX_CAPABILITIES_CHARS:
        raise BadEvent(f"{path}.capabilities", f"must be at most {MAX_CAPABILITIES_CHARS} characters as JSON")
    return text


def _known(connection: Connection, scope: str, names: Sequence[str]) -> dict[str, Any]:
    table = NODES.c
    found: dict[str, Any] = {}
    for start in range(0, len(names), 500):
        columns = (table.id, table.node, table.num_samples, table.num_kept, table.stride)
        query = select(*columns).where(table.scope == scope, table.node.in_(names[start : start + 500]))
        found |= {row.node: row for row in connection.execute(query)}
    return found


def _make_room(connection: Connection, scope: str, num_new: int, now: float) -> None:
    if num_new <= 0:
        return
    forgotten = now - FORGOTTEN_AFTER_S
    connection.execute(delete(NODES).where(NODES.c.run_key.is_(None), NODES.c.last_seen_ts < forgotten))
    count = connection.execute(select(func.count()).where(NODES.c.scope == scope)).scalar_one()
    if count + num_new > MAX_NODES:
        raise BadEvent("samples", f"a run has at most {MAX_NODES} nodes")


def _add(
    connection: Connection,
    scope: str,
    run_key: int | None,
    known: Any,
    node: str,
    samples: Sequence[NodeSample],
    now: float,
) -> None:
    last = samples[-1]
    first = known.num_samples if known is not None else 0
    values = {
        "run_key": run_key,
        "scope": scope,
        "node": node,
        "kind": last.kind,
        "host": last.host,
        "last_seen_ts": now,
        **{name: getattr(last, name) for name in _MEASURED},
        "capabilities": _capabilities("samples", last),
        "num_samples": first + len(samples),
        "num_kept": (known.num_kept if known is not None else 0) + len(samples),
    }
    upsert(connection, NODES, [values], index=("scope", "node"))
    key: int = (
        known.id
        if known is not None
        else connection.execute(select(NODES.c.id).where(NODES.c.scope == scope, NODES.c.node == node)).scalar_one()
    )
    connection.execute(insert(SAMPLES), [_point(key, first + place, item, now) for place, item in enumerate(samples)])
    if values["num_kept"] > MAX_KEPT:
        _thin(connection, key, (known.stride if known is not None else 1) * 2, values["num_samples"])


def _point(key: int, number: int, sample: NodeSample, now: float) -> dict[str, Any]:
    is_plausible = abs(sample.ts - now) <= MAX_CLOCK_SKEW_S
    measured = {name: getattr(sample, name) for name in _MEASURED}
    return {"node_key": key, "number": number, "ts": sample.ts if is_plausible else now, **measured}


def _thin(connection: Connection, key: int, stride: int, num_samples: int) -> None:
    table = SAMPLES.c
    is_old = table.number < num_samples - RECENT
    connection.execute(delete(SAMPLES).where(table.node_key == key, is_old, table.number % stride != 0))
    kept = connection.execute(select(func.count()).where(table.node_key == key)).scalar_one()
    connection.execute(update(NODES).where(NODES.c.id == key).values(stride=stride, num_kept=kept))


def nodes_of(connection: Connection, run_id: str | None, now: float) -> tuple[NodeView, ...]:
    """Return a run's nodes, the server first; without a run, those of all runs that were seen last."""
    query = select(NODES)
    if run_id is not None:
        query = query.where(NODES.c.scope == run_id)
    rows = connection.execute(query.order_by(NODES.c.last_seen_ts.desc(), NODES.c.id).limit(MAX_NODES_SHOWN)).all()
    return tuple(_view(row, now) for row in sorted(rows, key=_place))


def _place(row: Any) -> tuple[int, str, str]:
    return _KINDS.index(row.kind), sort_key(row.node), row.scope


def _view(row: Any, now: float) -> NodeView:
    return NodeView.model_construct(
        node=row.node,
        kind=row.kind,
        host=row.host,
        state=liveness(row.last_seen_ts, now),
        last_seen_ts=row.last_seen_ts,
        **{name: getattr(row, name) for name in _MEASURED},
        capabilities=json.loads(row.capabilities),
    )


def samples_of(connection: Connection, run_id: str | None, node: str, max_points: int) -> tuple[SamplePoint, ...]:
    """Return a node's history, oldest first, thinned by what its processor did.

    Raises:
        NotFound: There is no such node.
        BadQuery: The name is not usable.
    """
    key = connection.execute(
        select(NODES.c.id).where(NODES.c.scope == (run_id or ""), NODES.c.node == text_of("node", node))
    ).scalar()
    if key is None:
        raise NotFound(f"there is no node {node[:200]!r}")
    table = SAMPLES.c
    columns = (table.ts, *(table[name] for name in _MEASURED))
    found = connection.execute(select(*columns).where(table.node_key == key).order_by(table.number)).all()
    points = [SamplePoint(**row._asdict()) for row in found]
    return tuple(thin(points, _loads(points), max_points))


def _loads(points: Iterable[SamplePoint]) -> list[float | None]:
    return [point.cpu_percent for point in points]
