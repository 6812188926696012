"""What it costs a run to be observed: the same training with and without a dashboard, in turn.

Counted are the processor time of training with its workers, and of the dashboard's processes while it is observed; and
the seconds that the rounds take.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from benchmarks.dashboard_server import Server, cpu_seconds
from benchmarks.rounds import SCENARIOS, make_keys
from constellation.reporting import report_to
from constellation.simulated_keys import SIMULATED_KEY_BITS
from constellation.training import run
from monitor.reporting.destination import token_file
from shared.events import Envelope, RoundClosed, RunEnded, RunStarted

SCENARIO = "cross-device"  # the hardest of ours to observe: some hundred events a second of training
NUM_ROUNDS = 60  # long enough for what happens each few seconds to count


class CpuMeter:
    """An event sink that measures processor time from the start of a run to its end, while its workers live."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.digest = ""
        self.num_events = 0
        self._process = psutil.Process()

    def write(self, envelope: Envelope) -> None:
        """Look at one event."""
        self.num_events += 1
        match envelope.event:
            case RunStarted():
                self.seconds = -cpu_seconds(self._process)
            case RunEnded():
                self.seconds += cpu_seconds(self._process)
            case RoundClosed(model_digest=digest):
                self.digest = digest

    def close(self) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lap:
    """One run."""

    wall_s: float
    training_cpu_s: float
    digest: str
    num_events: int
    dashboard_cpu_s: float = 0.0


def train(output: Path, url: str, token_path: str) -> dict[str, object]:
    """Train once, reporting when ``url`` is given."""
    config = replace(SCENARIOS[SCENARIO], num_rounds=NUM_ROUNDS, output=str(output))
    reporting = report_to(url, token_file(Path(token_path)), output) if url else None
    meter = CpuMeter()
    result = run(
        config,
        sinks=[reporting.sink, meter] if reporting else [meter],
        sampler=reporting.sampler if reporting else None,
    )
    return {
        "wall_s": result.seconds_rounds,
        "training_cpu_s": meter.seconds,
        "digest": meter.digest,
        "num_events": meter.num_events,
    }


def lap(output: Path, server: Server | None) -> Lap:
    """Train in a fresh process."""
    arguments = [str(output), server.url if server else "", str(server.token_path) if server else ""]
    before = server.cpu_seconds() if server else 0.0
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.observation", *arguments], stdout=subprocess.PIPE, check=True
    )
    spent = server.cpu_seconds() - before if server else 0.0
    return Lap(**json.loads(done.stdout.splitlines()[-1]), dashboard_cpu_s=spent)


def measure(server: Server, output: Path, laps: int) -> dict[str, object]:
    """Run ``laps`` pairs, the order within a pair changing.

    Raises:
        SystemExit: The two did not do the same work.
    """
    make_keys(SCENARIOS[SCENARIO], SIMULATED_KEY_BITS)
    pairs: list[tuple[Lap, Lap]] = []
    with tempfile.TemporaryDirectory() as elsewhere:
        for number in range(laps):
            order = (None, server) if number % 2 else (server, None)
            first, second = (lap(output if who else Path(elsewhere), who) for who in order)
            pairs.append((second, first) if number % 2 else (first, second))
    if len({one.digest for pair in pairs for one in pair}) != 1:
        sys.exit("observed and unobserved training ended with different models")
    cpu = statistics.median(
        (watched.training_cpu_s + watched.dashboard_cpu_s) / plain.training_cpu_s - 1 for watched, plain in pairs
    )
    training = statistics.median(watched.training_cpu_s / plain.training_cpu_s - 1 for watched, plain in pairs)
    wall = statistics.median(watched.wall_s / plain.wall_s - 1 for watched, plain in pairs)
    return {
        "cpu": cpu,
        "wall": wall,
        "training_cpu": training,
        "dashboard_cpu_share": statistics.median(one.dashboard_cpu_s / one.training_cpu_s for one, _ in pairs),
        "training_cpu_s": statistics.median(plain.training_cpu_s for _, plain in pairs),
        "training_wall_s": statistics.median(plain.wall_s for _, plain in pairs),
        "events": pairs[0][0].num_events,
        "scenario": f"{SCENARIO}, {NUM_ROUNDS} rounds",
        "laps": laps,
        "model_digest": pairs[0][0].digest,
    }


if __name__ == "__main__":
    print(json.dumps(train(Path(sys.argv[1]), sys.argv[2], sys.argv[3])))
