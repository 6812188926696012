"""Rounds on a real SuperLink: resident SuperNodes against Flower's own, interleaved, with what they cost.

    python -m benchmarks.deployment --json

Three clients on loopback train and evaluate a small CNN, signatures on. A round's seconds are those of its events; the
first round of each lap warms up and does not count. CPU seconds are those of all processes of the federation, memory is
that of each client's processes at its peak (resident set, and proportional set, in which shared pages count once).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil

from app.engine.processes import MARK
from constellation.flower_engine import run_on_flower
from monitor.sinks import read_events
from shared.config import RunConfig
from shared.events import Envelope, RoundClosed

_SAMPLE_S = 0.5
_MEGABYTE = 1e6


@dataclass(slots=True)
class Meter:
    """Watches the processes of a federation that this process started: CPU at each closed round, memory at its peak."""

    cpu_at_round: dict[int, float] = field(default_factory=dict)
    peak_rss: float = 0.0
    peak_pss: float = 0.0
    _cpu: dict[tuple[int, float], float] = field(default_factory=dict)  # by process, also those that have ended

    def write(self, envelope: Envelope) -> None:
        """Note what all processes have used when a round is closed."""
        if isinstance(envelope.event, RoundClosed):
            self.look()
            self.cpu_at_round[envelope.event.server_round] = sum(self._cpu.values())

    def close(self) -> None:
        """Do nothing: the figures are read when the run is over."""

    def look(self) -> None:
        """Read what the processes have used."""
        clients: list[tuple[float, float]] = []
        for process in _federation():
            try:
                times = process.cpu_times()
                self._cpu[process.pid, process.create_time()] = times.user + times.system
                if _is_client(process):
                    memory = process.memory_full_info()
                    clients.append((memory.rss / _MEGABYTE, getattr(memory, "pss", memory.rss) / _MEGABYTE))
            except (psutil.Error, OSError):
                continue
        if clients:
            self.peak_rss = max(self.peak_rss, sum(rss for rss, _ in clients))
            self.peak_pss = max(self.peak_pss, sum(pss for _, pss in clients))


def _federation() -> list[psutil.Process]:
    """Return the processes that carry a federation's mark and were started, however indirectly, in this session."""
    found = []
    for process in psutil.process_iter():
        try:
            environment = process.environ()
        except (psutil.Error, OSError):
            continue
        if MARK in environment and environment.get(_LAP) == _lap_of_this_process:
            found.append(process)
    return found


def _is_client(process: psutil.Process) -> bool:
    words = " ".join(process.cmdline())
    return "client.supernode" in words or "flower-supernode" in words or "flwr-clientapp" in words


_LAP = "DEPLOYMENT_BENCHMARK"
_lap_of_this_process = ""


@contextmanager
def _watching(meter: Meter) -> Iterator[None]:
    over = threading.Event()

    def run() -> None:
        while not over.wait(_SAMPLE_S):
            meter.look()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def measure(config: RunConfig, *, stock: bool) -> dict[str, float | list[float]]:
    """Run one lap and return its figures; the first round is left out."""
    meter = Meter()
    with tempfile.TemporaryDirectory() as folder, _watching(meter):
        lap = replace(config, output=folder, key_dir=str(Path(folder) / "keys"))
        result = run_on_flower(lap, None, sinks=[meter], stock=stock)
        rounds = [
            float(row["seconds"])  # type: ignore[arg-type]
            for row in read_events(result.output / "events.jsonl")
            if row["type"] == "round-closed" and row["server-round"] != 1
        ]
    cpu = [meter.cpu_at_round[number] for number in sorted(meter.cpu_at_round)]
    return {
        "rounds": rounds,
        "cpu_s_per_round": (cpu[-1] - cpu[0]) / max(1, len(cpu) - 1),
        "rss_mb_per_client": meter.peak_rss / config.num_clients,
        "pss_mb_per_client": meter.peak_pss / config.num_clients,
    }


def summary(laps: list[dict[str, float | list[float]]]) -> dict[str, float]:
    """Return medians over laps; of rounds over all of them."""
    rounds = [seconds for lap in laps for seconds in lap["rounds"]]  # type: ignore[union-attr]
    figures = {"round_s": statistics.median(rounds)}
    for key in ("cpu_s_per_round", "rss_mb_per_client", "pss_mb_per_client"):
        figures[key] = statistics.median(float(lap[key]) for lap in laps)  # type: ignore[arg-type]
    return {key: round(value, 3) for key, value in figures.items()}


def main(report: Callable[[str], object] = print) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", action="store_true", help="one JSON object and nothing else")
    parser.add_argument("--laps", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=12, help="of a resident lap; a stock one has a quarter of them")
    parser.add_argument("--clients", type=int, default=3)
    parser.add_argument("--skip-stock", action="store_true")
    options = parser.parse_args()
    global _lap_of_this_process  # noqa: PLW0603 - set once, before anything is started
    _lap_of_this_process = str(os.getpid())
    os.environ[_LAP] = _lap_of_this_process

    found: dict[str, list[dict[str, float | list[float]]]] = {"resident": [], "stock": []}
    for _ in range(options.laps):
        for kind in ("resident",) if options.skip_stock else ("resident", "stock"):
            rounds = options.rounds if kind == "resident" else max(2, options.rounds // 4)
            config = RunConfig(
                engine="flower", dataset="synthetic", num_examples=600, num_clients=options.clients,
                num_rounds=rounds, local_steps=5, partition="iid",
            )  # fmt: skip
            found[kind].append(measure(config, stock=kind == "stock"))
    figures = {kind: summary(laps) for kind, laps in found.items() if laps}
    if options.json:
        report(json.dumps(figures))
    else:
        for kind, values in figures.items():
            report(f"{kind}: " + ", ".join(f"{key} {value:g}" for key, value in values.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
