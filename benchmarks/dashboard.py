"""What the dashboard can take: viewers, events, and how little a run notices of being observed.

``python -m benchmarks.dashboard --json`` starts the real dashboard (gunicorn, SQLite) and measures over loopback

- live: four runs under way with 2.5 events a second each, every viewer in the rooms of all four: ten events a second
  for each viewer, each a message of its own. Milliseconds are from the beginning of the POST of an event to its receipt
  by a viewer; ``lost`` counts events that a viewer never heard of.
- coalesced: one run with ten events a second. A room is told at most four times a second, so up to 250 ms are
  deliberate; reported apart.
- ingest: batches of 500 rows, one call after the other.
- observation: see ``benchmarks.observation``; ``observation_overhead`` is the larger of processor time and wall time.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import observation
from benchmarks.dashboard_server import Server, serving
from benchmarks.event_rows import Row, rows_of
from monitor.reporting.connection import Connection

NUM_RUNS = 4
EVENTS_PER_S = 10.0
ROOM_CLIENTS = 20
WARM_ROWS = 500  # that each run has before anybody watches: some rounds are over
INGEST_ROWS = 500  # a call
_EVENTS = "/internal/events"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One event and when its POST began, on the monotonic clock that all processes of the machine share."""

    run: str
    seq: int
    at: float


def post(connection: Connection, run: str, rows: Sequence[Row]) -> None:
    """Send rows.

    Raises:
        SystemExit: The dashboard does not take them.
    """
    body = json.dumps({"source": {"origin": "terminal"}, "run": run, "events": rows}).encode()
    reply = connection.post(_EVENTS, body, timeout_s=30.0)
    if reply.status != 200 or reply.fields.get("last_seq") != rows[-1]["seq"]:
        sys.exit(f"the dashboard answered {reply.status} {reply.fields}")


def live(server: Server, *, prefix: str, num_runs: int, viewers: int, seconds: float) -> dict[str, float]:
    """Send ``EVENTS_PER_S`` over ``num_runs`` runs while viewers listen to all of them."""
    names = [f"{prefix}-{number}" for number in range(num_runs)]
    sources = {name: rows_of(name, num_clients=ROOM_CLIENTS, seed=number) for number, name in enumerate(names)}
    connection = server.connection()
    for name in names:
        post(connection, name, [next(sources[name]) for _ in range(WARM_ROWS)])
    arguments = {"url": server.url, "rooms": [f"run:{name}" for name in names], "viewers": viewers}
    command = [sys.executable, "-m", "benchmarks.viewers", json.dumps(arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as listening:
        assert listening.stdin is not None
        assert listening.stdout is not None
        if listening.stdout.readline() != "ready\n":
            sys.exit("the viewers could not connect")
        cpu = server.cpu_seconds()
        sent = list(_send(connection, names, sources, seconds))
        cpu = server.cpu_seconds() - cpu
        last = {f"run:{one.run}": one.seq for one in sent}
        listening.stdin.write(json.dumps(last) + "\n")
        listening.stdin.flush()
        answer = json.loads(listening.stdout.readline())
    return figures(sent, answer) | {"server_cpu_share_of_a_core": cpu / (sent[-1].at - sent[0].at)}


def _send(
    connection: Connection, names: Sequence[str], sources: dict[str, Iterator[Row]], seconds: float
) -> Iterator[Sent]:
    """Send one event after the other, evenly spread and each run in its turn."""
    began = time.monotonic()
    for number in range(round(seconds * EVENTS_PER_S)):
        pause = began + number / EVENTS_PER_S - time.monotonic()
        if pause > 0:
            time.sleep(pause)
        name = names[number % len(names)]
        row = next(sources[name])
        at = time.monotonic()
        post(connection, name, [row])
        yield Sent(run=name, seq=int(str(row["seq"])), at=at)


def figures(sent: Sequence[Sent], answer: dict[str, Any]) -> dict[str, float]:
    """Find for each viewer and event the first message that brought it."""
    delays: list[float] = []
    lost = 0
    for heard in answer["heard"]:
        for run in {one.run for one in sent}:
            messages = iter(heard[f"run:{run}"])
            seq, at = next(messages, (0, math.inf))
            for one in (one for one in sent if one.run == run):
                while seq < one.seq and at != math.inf:
                    seq, at = next(messages, (0, math.inf))
                if at == math.inf:
                    lost += 1
                else:
                    delays.append(1000 * (at - one.at))
    span = sent[-1].at - sent[0].at
    viewers = len(answer["heard"])
    return {
        "viewers": viewers,
        "events_per_s": (len(sent) - 1) / span,
        "lost": lost,
        "p50_ms": statistics.median(delays) if delays else math.inf,
        "p95_ms": statistics.quantiles(delays, n=20)[18] if delays else math.inf,
        "max_ms": max(delays, default=math.inf),
        "messages_per_viewer_and_s": answer["messages"] / viewers / span,
        "bytes_per_message": answer["bytes"] / max(1, answer["messages"]),
        "compressed": answer["compressed"],
    }


def ingest(server: Server, seconds: float) -> float:
    """Return how many events a second the dashboard takes from one run that sends as fast as it can."""
    connection = server.connection()
    rows = rows_of("ingest", num_clients=50)
    post(connection, "ingest", [next(rows) for _ in range(INGEST_ROWS)])
    num_sent, spent = 0, 0.0
    while spent < seconds:
        batch = [next(rows) for _ in range(INGEST_ROWS)]
        began = time.monotonic()
        post(connection, "ingest", batch)
        spent += time.monotonic() - began
        num_sent += len(batch)
    return num_sent / spent


def measure(viewers: int, seconds: float, laps: int) -> dict[str, object]:
    """Measure everything, each on a dashboard of its own."""
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), max_viewers=viewers) as server:
        alive = live(server, prefix="live", num_runs=NUM_RUNS, viewers=viewers, seconds=seconds)
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), max_viewers=viewers) as server:
        coalesced = live(server, prefix="one", num_runs=1, viewers=viewers, seconds=seconds)
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), max_viewers=viewers) as server:
        ingest_events_per_s = ingest(server, seconds=10.0)
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), max_viewers=viewers) as server:
        overhead = observation.measure(server, Path(folder), laps)
    return {
        "viewers": alive["viewers"],
        "events_per_s": alive["events_per_s"],
        "lost": alive["lost"] + coalesced["lost"],
        "p95_ms": alive["p95_ms"],
        "ingest_events_per_s": ingest_events_per_s,
        "observation_overhead": max(float(str(overhead["cpu"])), float(str(overhead["wall"]))),
        "p95_coalesced_ms": coalesced["p95_ms"],
        "live": alive,
        "coalesced": coalesced,
        "observation": overhead,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--viewers", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--laps", type=int, default=5)
    options = parser.parse_args()
    found = measure(options.viewers, options.seconds, options.laps)
    if options.json:
        print(json.dumps(found))
        return
    for key, value in found.items():
        print(f"{key}: {value}")


if __name__ == "__main__":
    main()
