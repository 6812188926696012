"""What a training step and an evaluation cost: the plain network with ``torch.optim`` against ``client.trainer``.

``python -m benchmarks.step [--laps 15] [--json]`` starts two processes of one torch thread each, one for the plain
network as a user would write it and one for ours as a worker of the engine runs it (``tune_allocator`` is for a whole
process), and lets them work in turn, so that whatever else the machine does falls on both. Figures are CPU time: the
lower quartile over the laps.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import struct
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.bare import plain_cnn
from client.optimizers import OptimizerSettings
from client.trainer import TrainSettings, train
from shared.config import RunConfig
from shared.datasets.catalog import load_dataset
from shared.datasets.dataset import Dataset
from shared.evaluation import batches_of, evaluate
from shared.models.catalog import build_model
from shared.models.device import tune_allocator

INPUT_SHAPE, NUM_CLASSES = (1, 28, 28), 10
NUM_TEST_IMAGES = 2_000
STEPS_A_LAP = {32: 10, 8: 30}  # by batch size
EVALUATION_BATCHES = (50, 100, 200, 500)
_SECONDS = struct.Struct(">d")
LEARNING_RATE, MOMENTUM = 0.05, 0.9


class Digits:
    """A client with real digits, always in the same order: how fast the plain pooling is depends on its data."""

    def __init__(self, num_examples: int) -> None:
        dataset = load_dataset(RunConfig(dataset="mnist-sample"))
        assert isinstance(dataset, Dataset)
        self.inputs, self.labels = dataset.train.take(np.arange(num_examples))
        self.num_examples, self.num_test_examples = num_examples, 0

    def train_batches(self, batch_size: int, rng: np.random.Generator) -> Iterator[tuple[Tensor, Tensor]]:  # noqa: ARG002
        """Yield the images in batches."""
        return batches_of(self.inputs, self.labels, batch_size)

    def test_batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:  # noqa: ARG002
        """Yield nothing."""
        return iter(())


Job = Callable[[], None]


def plain_jobs() -> dict[str, Job]:
    """The work, done by the plain network."""
    model = plain_cnn(INPUT_SHAPE, NUM_CLASSES)
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)

    def steps(batch_size: int) -> Job:
        data = Digits(batch_size * STEPS_A_LAP[batch_size])

        def job() -> None:
            model.train()
            for inputs, labels in data.train_batches(batch_size, np.random.default_rng()):
                optimizer.zero_grad()
                loss = F.cross_entropy(model(inputs), labels)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()

        return job

    return _jobs(steps, lambda images, size: lambda: _discard(evaluate(model, batches_of(*images, size))))


def our_jobs() -> dict[str, Job]:
    """The same work, done as a worker does it."""
    tune_allocator()
    model = build_model("cnn", INPUT_SHAPE, NUM_CLASSES, seed=1)
    optimizer = OptimizerSettings(name="sgd", learning_rate=LEARNING_RATE, momentum=MOMENTUM)

    def steps(batch_size: int) -> Job:
        data = Digits(batch_size * STEPS_A_LAP[batch_size])
        settings = TrainSettings(optimizer=optimizer, batch_size=batch_size)
        return lambda: _discard(train(model, data, settings, np.random.default_rng(1)))

    return _jobs(steps, lambda images, size: lambda: _discard(evaluate(model, batches_of(*images, size))))


def _jobs(steps: Callable[[int], Job], evaluation: Callable[[tuple[Tensor, Tensor], int], Job]) -> dict[str, Job]:
    test = Digits(NUM_TEST_IMAGES)
    images = (test.inputs, test.labels)
    return {f"step of {size}": steps(size) for size in STEPS_A_LAP} | {
        f"evaluation by {size}": evaluation(images, size) for size in EVALUATION_BATCHES
    }


def _discard(_: object) -> None:
    """Make a job of an expression."""


def _work(connection: Connection, make_jobs: Callable[[], dict[str, Job]]) -> None:
    """Do the jobs that are asked for, until none is; answer with CPU seconds."""
    torch.set_num_threads(1)
    jobs = make_jobs()
    while name := connection.recv_bytes().decode():
        started = time.process_time()
        jobs[name]()
        connection.send_bytes(_SECONDS.pack(time.process_time() - started))


def measure(laps: int) -> dict[str, dict[str, float]]:
    """Return milliseconds by job and side."""
    context = multiprocessing.get_context("spawn")
    sides: dict[str, Connection] = {}
    processes = []
    for side, make_jobs in (("plain", plain_jobs), ("ours", our_jobs)):
        sides[side], theirs = context.Pipe()
        processes.append(context.Process(target=_work, args=(theirs, make_jobs), daemon=True))
        processes[-1].start()
    names = [f"step of {size}" for size in STEPS_A_LAP] + [f"evaluation by {size}" for size in EVALUATION_BATCHES]
    seconds: dict[str, dict[str, list[float]]] = {name: {side: [] for side in sides} for name in names}
    for _ in range(laps + 2):
        for name in names:
            for side, connection in sides.items():
                connection.send_bytes(name.encode())
                seconds[name][side].append(*_SECONDS.unpack(connection.recv_bytes()))
    for connection, process in zip(sides.values(), processes, strict=True):
        connection.send_bytes(b"")
        process.join()
    per = {f"step of {size}": count for size, count in STEPS_A_LAP.items()}
    return {
        name: {side: float(np.quantile(laps_[2:], 0.25)) * 1e3 / per.get(name, 1) for side, laps_ in by_side.items()}
        for name, by_side in seconds.items()
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--laps", type=int, default=15)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    table = measure(arguments.laps)
    if arguments.json:
        print(json.dumps(table))
        return
    best = {
        side: min(table[f"evaluation by {size}"][side] for size in EVALUATION_BATCHES) for side in ("plain", "ours")
    }
    for name, row in {**table, "evaluation, each at its best": best}.items():
        print(
            f"{name:30s} plain {row['plain']:8.3f} ms   ours {row['ours']:8.3f} ms   {row['ours'] / row['plain']:.3f}x"
        )


if __name__ == "__main__":
    main()
