"""What a private training step costs, against the plain step of the same module with the same kernels.

``python -m benchmarks.privacy [--laps 15] [--profile] [--json]``: the built-in CNN on digits, batches of 64 on the
average by Poisson sampling on every side, one thread, the sides in turn, so that what else the machine does falls on
all. Figures are CPU time: the lower quartile over the laps.

Our book-keeping runs on the CNN's own oneDNN kernels and is compared with the plain step on those, and again on plain
layers. Opacus's engines can only run on plain layers and are compared with the plain step on those; their noise is
torch's, not a secure one's.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.step import Digits
from client.optimizers import OptimizerSettings, make_optimizer
from client.privacy.clipping import make_clipper, trained_parameters
from client.privacy.noise import SecureRandom, add_noise
from shared.models.catalog import build_model
from shared.models.device import tune_allocator

BATCH_SIZE, NUM_BATCHES = 64, 40
NUM_EXAMPLES = BATCH_SIZE * NUM_BATCHES
STEPS_A_LAP = 10
SIGMA, MAX_GRAD_NORM = 1.0, 1.0
OPTIMIZER = OptimizerSettings(name="sgd", learning_rate=0.05, momentum=0.9)
TARGET, TARGET_OF_HOOKS = 2.0, 0.75

Step = Callable[[Tensor, Tensor], None]


class Batches:
    """Poisson samples of the digits, from the same source as private training's."""

    def __init__(self) -> None:
        self._data = Digits(NUM_EXAMPLES)
        self._random = SecureRandom()

    def draw(self) -> tuple[Tensor, Tensor]:
        """Draw a batch; at this size none is ever empty."""
        chosen = torch.from_numpy(np.flatnonzero(self._random.poisson_mask(NUM_EXAMPLES, 1 / NUM_BATCHES)))
        return self._data.inputs[chosen], self._data.labels[chosen]


def model_of(*, plain: bool) -> Any:
    """Build the CNN, on its own kernels or on plain layers."""
    model: Any = build_model("cnn", (1, 28, 28), 10, seed=1)
    model.plain = plain
    return model.train()


def plain_step(*, plain: bool) -> Step:
    """The step that is not private."""
    model = model_of(plain=plain)
    parameters, optimizer = list(model.parameters()), make_optimizer(OPTIMIZER)

    def step(inputs: Tensor, labels: Tensor) -> None:
        _, _, gradients = model.loss_and_gradients(inputs, labels)
        with torch.no_grad():
            optimizer.step(parameters, gradients)

    return step


def our_step(*, plain: bool) -> Step:
    """Our private step, secure noise included."""
    model = model_of(plain=plain)
    parameters: list[Tensor] = list(trained_parameters(model))
    clipper, optimizer, random = make_clipper(model, MAX_GRAD_NORM), make_optimizer(OPTIMIZER), SecureRandom()

    def step(inputs: Tensor, labels: Tensor) -> None:
        sums = clipper.clipped_sum(inputs, labels).gradients
        gradients = add_noise(sums, SIGMA * MAX_GRAD_NORM, BATCH_SIZE, random)
        with torch.no_grad():
            optimizer.step(parameters, gradients)

    return step


def opacus_step(mode: str) -> Step:
    """Opacus's step: its module, its optimizer, its noise."""
    from opacus import PrivacyEngine
    from torch.utils.data import DataLoader, TensorDataset

    model, data = model_of(plain=True), Digits(NUM_EXAMPLES)
    criterion: Any = nn.CrossEntropyLoss()
    private = PrivacyEngine().make_private(
        module=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=OPTIMIZER.learning_rate, momentum=OPTIMIZER.momentum),
        data_loader=DataLoader(TensorDataset(data.inputs, data.labels), batch_size=BATCH_SIZE),
        noise_multiplier=SIGMA,
        max_grad_norm=MAX_GRAD_NORM,
        grad_sample_mode=mode,
        criterion=criterion,
    )
    module, optimizer = private[0], private[1]
    criterion = private[2] if mode == "ghost" else criterion

    def step(inputs: Tensor, labels: Tensor) -> None:
        optimizer.zero_grad()
        criterion(module(inputs), labels).backward()
        optimizer.step()

    return step


OURS, OURS_ON_LAYERS = "book-keeping", "book-keeping on plain layers"
PLAIN, PLAIN_ON_LAYERS = "plain", "plain on plain layers"
SIDES: dict[str, tuple[Callable[[], Step], str]] = {  # name -> how it is made, and the plain step it is compared with
    PLAIN: (lambda: plain_step(plain=False), PLAIN),
    PLAIN_ON_LAYERS: (lambda: plain_step(plain=True), PLAIN_ON_LAYERS),
    OURS: (lambda: our_step(plain=False), PLAIN),
    OURS_ON_LAYERS: (lambda: our_step(plain=True), PLAIN_ON_LAYERS),
    "hooks": (lambda: opacus_step("hooks"), PLAIN_ON_LAYERS),
    "ghost": (lambda: opacus_step("ghost"), PLAIN_ON_LAYERS),
    "functorch": (lambda: opacus_step("functorch"), PLAIN_ON_LAYERS),
}


def measure(laps: int) -> dict[str, float]:
    """Return milliseconds a step by side."""
    torch.set_num_threads(1)
    tune_allocator()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Opacus says that its noise is not secure, and what its hooks do
        steps = {name: make() for name, (make, _) in SIDES.items()}
        batches = Batches()
        seconds: dict[str, list[float]] = {name: [] for name in steps}
        for _ in range(laps + 2):
            for name, step in steps.items():
                started = time.process_time()
                for _ in range(STEPS_A_LAP):
                    step(*batches.draw())
                seconds[name].append(time.process_time() - started)
    return {name: float(np.quantile(of_laps[2:], 0.25)) * 1e3 / STEPS_A_LAP for name, of_laps in seconds.items()}


def figures(step_ms: dict[str, float]) -> dict[str, object]:
    """Return the ratios, and whether the targets are met."""
    ratios = {name: step_ms[name] / step_ms[base] for name, (_, base) in SIDES.items() if name != base}
    of_hooks = {name: step_ms[name] / step_ms["hooks"] for name in (OURS, OURS_ON_LAYERS)}
    return {
        "step_ratio": {name: round(ratio, 3) for name, ratio in ratios.items()},
        "of_opacus_hooks": {name: round(ratio, 3) for name, ratio in of_hooks.items()},
        "step_ms": {name: round(value, 3) for name, value in step_ms.items()},
        "batch_size": BATCH_SIZE,
        "targets": {"step_ratio": TARGET, "of_opacus_hooks": TARGET_OF_HOOKS},
        "met": ratios[OURS] <= TARGET and max(of_hooks.values()) <= TARGET_OF_HOOKS,
    }


def profile(num_steps: int = 200) -> str:
    """Return where the time of our step goes."""
    torch.set_num_threads(1)
    tune_allocator()
    step, batches = our_step(plain=False), Batches()
    profiler = cProfile.Profile()
    for _ in range(5):
        step(*batches.draw())
    drawn = [batches.draw() for _ in range(num_steps)]
    profiler.enable()
    for inputs, labels in drawn:
        step(inputs, labels)
    profiler.disable()
    stats = pstats.Stats(profiler)
    lines = ["ms a step, what is under it included:"]
    wanted = {
        "losses_and_records": "passes by the CNN's kernels, without weight gradients",
        "_forward": "  forward pass",
        "gradients_of": "copy of the windows",
        "squared_norms": "single examples' gradients and norms",
        "weighted_sum": "sum of the clipped",
        "add_noise": "noise and division",
        "gaussian": "  ChaCha20, Box and Muller",
    }
    for (_, _, name), (_, _, _, cumulative, _) in stats.stats.items():  # type: ignore[attr-defined]
        if name in wanted:
            lines.append(f"{cumulative / num_steps * 1e3:7.3f}  {wanted[name]} ({name})")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--laps", type=int, default=15)
    parser.add_argument("--profile", action="store_true", help="say where the time of our step goes instead")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    if arguments.profile:
        print(profile())
        return
    found = figures(measure(arguments.laps))
    if arguments.json:
        print(json.dumps(found))
        return
    for name, ms in found["step_ms"].items():  # type: ignore[attr-defined]
        ratio = found["step_ratio"].get(name)  # type: ignore[attr-defined]
        print(f"{name:32s} {ms:8.3f} ms" + (f"   {ratio:.2f}x of {SIDES[name][1]}" if ratio else ""))
    print(f"of Opacus's hooks: {found['of_opacus_hooks']}; targets met: {found['met']}")


if __name__ == "__main__":
    main()
