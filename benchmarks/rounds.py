"""How near a round is to the training inside it: this engine against a bare PyTorch loop that does the same steps.

``python -m benchmarks.rounds --json [--laps 3] [--scenario NAME]`` runs, interleaved in one call, (a) this engine with
signatures, checkpoints and events on, (b) the bare loop of ``benchmarks.bare``, and (c) Flower's own simulation on Ray
where it is installed. Timed are the rounds, not the start-up. Work is the same when steps, final loss and parameter
norm agree; the command fails when they do not, to 1e-3.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psutil

from app.results import RunResult
from benchmarks import flower_ray
from benchmarks.bare import EVALUATION_BATCH_SIZE, BareResult, run_bare
from constellation.folders import key_dir_of
from constellation.names import client_id_of, key_owner_of
from constellation.simulated_keys import SIMULATED_KEY_BITS
from constellation.training import run
from shared.config import RunConfig
from shared.crypto.keys import SERVER_ID, KeyStore
from shared.events import Envelope, PhaseStarted, RoundClosed, RoundStarted, UpdateAccepted
from shared.parameters import Arrays

_COMMON = RunConfig(
    partition="dirichlet",
    alpha=0.5,
    batch_size=32,
    local_epochs=1,
    learning_rate=0.05,
    momentum=0.0,
    fraction_evaluate=0.0,
)
SCENARIOS: Mapping[str, RunConfig] = {
    "cross-device": replace(_COMMON, num_clients=100, fraction=0.1, num_rounds=20),
    "tiny": replace(_COMMON, num_clients=1_000, fraction=0.1, num_rounds=10, partition="iid"),  # 8 images a client
    "cross-silo": replace(_COMMON, num_clients=3, fraction=1.0, num_rounds=5),
}
USUAL_EVALUATION_BATCH_SIZE = 500  # what one writes without having measured; reported beside the best
TOLERANCE = 1e-3  # relative, of final loss and parameter norm: the order of float additions differs


class Observer:
    """Notes who was asked in each round, and how much memory the run takes between rounds."""

    def __init__(self) -> None:
        self.cohorts: list[list[int]] = []
        self.peak_bytes = 0
        self.steps = 0
        self.cpu_seconds = 0.0  # of this process and the workers, in all rounds
        self._cpu_before = 0.0

    def write(self, envelope: Envelope) -> None:
        """Look at one event."""
        event = envelope.event
        if isinstance(event, PhaseStarted) and event.phase == "train":
            self.cohorts.append([int(client.removeprefix(client_id_of(0)[:-1])) for client in event.clients])
        elif isinstance(event, UpdateAccepted):
            self.steps += int(event.metrics.get("num-steps", 0))
        elif isinstance(event, RoundStarted):
            self._cpu_before = tree_cpu_seconds()
        elif isinstance(event, RoundClosed) and event.server_round > 0:
            self.cpu_seconds += tree_cpu_seconds() - self._cpu_before
            self.peak_bytes = max(self.peak_bytes, proportional_bytes())

    def close(self) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLap:
    """One run of the engine."""

    seconds: float
    outside_seconds: float  # wall time before the first round and after the last: workers, keys, results
    cpu_seconds: float
    result: RunResult
    cohorts: list[list[int]]
    peak_bytes: int
    steps: int


def proportional_bytes() -> int:
    """Memory of this process and its children; pages that several share count once in all (PSS)."""
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    total = 0
    for process in processes:
        try:
            total += process.memory_full_info().pss
        except psutil.Error:
            continue
    return total


def tree_cpu_seconds() -> float:
    """CPU time of this process and of its children that live."""
    total = 0.0
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system
    return total


def engine_lap(config: RunConfig, folder: Path) -> EngineLap:
    """Run the engine once."""
    observer = Observer()
    started = time.perf_counter()
    result = run(replace(config, output=str(folder)), sinks=[observer])
    return EngineLap(
        seconds=result.seconds_rounds,
        outside_seconds=time.perf_counter() - started - result.seconds_rounds,
        cpu_seconds=observer.cpu_seconds,
        result=result,
        cohorts=observer.cohorts,
        peak_bytes=observer.peak_bytes,
        steps=observer.steps,
    )


def parameter_norm(arrays: Arrays) -> float:
    """L2 norm of a whole model."""
    return float(np.sqrt(sum(float(np.square(array.astype(np.float64)).sum()) for array in arrays.values())))


def make_keys(config: RunConfig, key_bits: int) -> None:
    """Make the clients' keys before anything is timed: a client makes its key once in its life."""
    store = KeyStore(key_dir_of(config), key_bits=key_bits)
    store.load_or_create(SERVER_ID)
    for owner in {key_owner_of(index) for index in range(config.num_clients)}:
        store.load_or_create(owner)


def bare_lap(config: RunConfig, cohorts: list[list[int]], evaluation_batch_size: int) -> BareResult:
    """Run the bare loop in a fresh process: nothing that the engine sets up in this one helps or hinders it."""
    with ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context("spawn")) as executor:
        return executor.submit(run_bare, config, cohorts, evaluation_batch_size).result()


def measure(config: RunConfig, laps: int, folder: Path, *, with_unsigned: bool, key_bits: int) -> dict[str, object]:
    """Run a scenario ``laps`` times, engine and bare loop in turn.

    Raises:
        SystemExit: The two did not do the same work.
    """
    config = replace(config, key_dir=str(folder / f"keys-{key_bits}"))  # of the wanted size, whatever lies elsewhere
    make_keys(config, key_bits)
    signed: list[EngineLap] = []
    unsigned: list[EngineLap] = []
    bare: list[BareResult] = []
    usual: list[BareResult] = []
    flower: list[BareResult] = []
    for _ in range(laps):
        signed.append(engine_lap(config, folder))
        bare.append(bare_lap(config, signed[-1].cohorts, EVALUATION_BATCH_SIZE))
        usual.append(bare_lap(config, signed[-1].cohorts, USUAL_EVALUATION_BATCH_SIZE))
        if flower_ray.is_installed():
            flower.append(flower_ray.run_flower(config, signed[-1].cohorts))
        if with_unsigned:
            unsigned.append(engine_lap(replace(config, signatures=False), folder))
    engine_s = statistics.median(lap.seconds for lap in signed)
    bare_s = statistics.median(lap.seconds for lap in bare)
    row: dict[str, object] = {
        "ratio_to_bare": statistics.median(
            lap.seconds / plain.seconds for lap, plain in zip(signed, bare, strict=True)
        ),
        "engine_s": engine_s,
        "bare_s": bare_s,
        "engine_cpu_s": statistics.median(lap.cpu_seconds for lap in signed),
        "bare_cpu_s": statistics.median(lap.cpu_seconds for lap in bare),
        "engine_outside_rounds_s": statistics.median(lap.outside_seconds for lap in signed),
        "bare_evaluating_in_500s": {
            "seconds": statistics.median(lap.seconds for lap in usual),
            "ratio_to_it": statistics.median(
                lap.seconds / plain.seconds for lap, plain in zip(signed, usual, strict=True)
            ),
        },
        **_compare(signed[-1], bare[-1]),
        "peak_rss_mb": max(lap.peak_bytes for lap in signed) / 1e6,
        "updates_accepted": signed[-1].result.updates_accepted,
        "laps": laps,
    }
    if flower:
        _require_same("Flower's simulation", flower[-1], bare[-1])
        row["flower_ray"] = {
            "seconds": statistics.median(lap.seconds for lap in flower),
            "ratio_to_bare": statistics.median(
                lap.seconds / plain.seconds for lap, plain in zip(flower, bare, strict=True)
            ),
            "steps": flower[-1].steps,
            "final_loss": flower[-1].final_loss,
            "parameter_norm": flower[-1].parameter_norm,
        }
    if with_unsigned:
        differences = [
            (lap.seconds - plain.seconds) / base.seconds
            for lap, plain, base in zip(signed, unsigned, bare, strict=True)
        ]
        row["signing_overhead"] = statistics.median(differences)
    return row


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What shows that two runs did the same."""

    steps: int
    final_loss: float
    parameter_norm: float


def _engine_work(lap: EngineLap) -> Work:
    norm = parameter_norm(lap.result.arrays)
    return Work(steps=lap.steps, final_loss=lap.result.loss or 0.0, parameter_norm=norm)


def _require_same(name: str, work: Work | BareResult, bare: BareResult) -> None:
    """Stop when a run did not do the work of the bare loop."""
    if work.steps != bare.steps:
        sys.exit(f"not the same work: {name} took {work.steps} steps, the bare loop {bare.steps}")
    for what in ("final_loss", "parameter_norm"):
        ours, theirs = getattr(work, what), getattr(bare, what)
        if abs(ours - theirs) > TOLERANCE * abs(theirs):
            sys.exit(f"not the same work: {what} is {ours} in {name} and {theirs} in the bare loop")


def _compare(lap: EngineLap, bare: BareResult) -> dict[str, object]:
    """Show that the work was the same."""
    work = _engine_work(lap)
    _require_same("the engine", work, bare)
    return {
        "steps": work.steps,
        "bare_steps": bare.steps,
        "final_loss": work.final_loss,
        "bare_final_loss": bare.final_loss,
        "parameter_norm": work.parameter_norm,
        "bare_parameter_norm": bare.parameter_norm,
        "accuracy": lap.result.accuracy,
    }


def main() -> None:
    """Run the scenarios and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--laps", type=int, default=3)
    parser.add_argument("--scenario", choices=[*SCENARIOS], action="append")
    parser.add_argument("--key-bits", type=int, default=SIMULATED_KEY_BITS, help="of the clients' RSA keys")
    arguments = parser.parse_args()
    rows: dict[str, dict[str, object]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.scenario or SCENARIOS:
            row = measure(
                SCENARIOS[name],
                arguments.laps,
                Path(folder),
                with_unsigned=name == "cross-device",
                key_bits=arguments.key_bits,
            )
            rows[name] = row
            if not arguments.json:
                print(name, json.dumps(row))
    overhead = rows.get("cross-device", {}).pop("signing_overhead", None)
    if arguments.json:
        print(json.dumps({"scenarios": rows, "signing_overhead": overhead, "key_bits": arguments.key_bits}))


if __name__ == "__main__":
    main()
