"""Every attack against every rule: the table that says what a rule is good for.

A cell is the mean over seeds of the global model's accuracy after the last round; for the backdoor also how many test
images with the trigger are taken for its target. The runs differ in nothing but attack, rule and seed.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from client.poisoned_data import BACKDOOR_TARGET, stamp
from constellation.training import run
from shared.aggregation import AGGREGATIONS, UPDATES_NEEDED
from shared.config import RunConfig
from shared.datasets.federated import FederatedData, federate
from shared.errors import UsageError
from shared.evaluation import EVALUATION_BATCH_SIZE
from shared.models.catalog import build_model
from shared.models.resident import ResidentModel
from shared.parameters import Arrays

NO_ATTACK = "none"
LAB_ATTACKS = (
    *(NO_ATTACK, "sign-flip", "label-flip", "gaussian", "alie", "alie-1", "ipm"),
    *("backdoor", "free-rider", "sybil"),
)
LAB_RULES = tuple(AGGREGATIONS)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabSettings:
    """What is run."""

    config: RunConfig  # of the clean run; attack, rule and seed are set for each run
    hostile: int
    attacks: tuple[str, ...] = LAB_ATTACKS
    rules: tuple[str, ...] = LAB_RULES
    seeds: tuple[int, ...] = (1, 2, 3)

    def __post_init__(self) -> None:
        """Check the names and numbers.

        Raises:
            UsageError: An attack or rule does not exist, or all clients would be hostile.
        """
        for what, given, known in (("attacks", self.attacks, LAB_ATTACKS), ("rules", self.rules, LAB_RULES)):
            if unknown := [name for name in given if name not in known]:
                raise UsageError(f"{what} must be among {', '.join(known)}, got {unknown[0]!r}")
        if not 1 <= self.hostile < self.config.num_clients:
            raise UsageError(f"hostile must be from 1 to num-clients - 1, got {self.hostile}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One attack against one rule, over the seeds."""

    attack: str
    rule: str
    accuracies: tuple[float, ...] = ()  # 0 to 1, by seed; empty where the rule is not defined
    successes: tuple[float, ...] = ()  # of the backdoor, 0 to 1, by seed
    needs: int = 0  # the number of updates the rule needs, where there are fewer

    @property
    def text(self) -> str:
        """The cell as the table shows it: accuracy in percent, "/" the backdoor's success."""
        if self.needs:
            return f"n/a (needs n >= {self.needs})"
        accuracy = f"{100 * statistics.fmean(self.accuracies):.1f}"
        return f"{accuracy}/{100 * statistics.fmean(self.successes):.0f}" if self.successes else accuracy

    def to_json(self) -> dict[str, object]:
        """Return the cell as one JSON object."""
        row: dict[str, object] = {"attack": self.attack, "rule": self.rule, "text": self.text}
        if not self.needs:
            row |= {"accuracy": statistics.fmean(self.accuracies), "accuracies": self.accuracies}
        if self.successes:
            row |= {"backdoor_success": statistics.fmean(self.successes), "backdoor_successes": self.successes}
        return row


def experiment(settings: LabSettings, done: Callable[[int, int], None] = lambda _, __: None) -> Iterator[Cell]:
    """Run everything, rule by rule, and yield the cells as they are done.

    Args:
        settings: What to run.
        done: Called after each run with how many are done, and how many there are.
    """
    cells = [(rule, attack) for rule in settings.rules for attack in settings.attacks]
    total, count = len(cells) * len(settings.seeds), 0
    for rule, attack in cells:
        if needs := _missing(settings, rule):
            count += len(settings.seeds)
            yield Cell(attack=attack, rule=rule, needs=needs)
            continue
        accuracies: list[float] = []
        successes: list[float] = []
        for seed in settings.seeds:
            accuracy, arrays = _run(settings, rule, attack, seed)
            accuracies.append(accuracy)
            if attack == "backdoor":
                successes.append(backdoor_success(settings.config, federate(settings.config), arrays))
            count += 1
            done(count, total)
        yield Cell(attack=attack, rule=rule, accuracies=tuple(accuracies), successes=tuple(successes))


def backdoor_success(config: RunConfig, data: FederatedData, arrays: Arrays) -> float:
    """Return the share of test images, the target's own left out, that are taken for the target with the trigger.

    Raises:
        UsageError: The data has no central test set.
    """
    if data.central_test is None:
        raise UsageError("the attack laboratory needs a data set with a central test set; mnist-sample has one")
    inputs, labels = data.central_test
    others = labels != BACKDOOR_TARGET
    model = ResidentModel(
        build_model(config.model, data.input_shape, data.num_classes, config.seed, private=config.dp),
        torch.device("cpu"),
    )
    model.load(arrays)
    model.module.eval()
    with torch.no_grad():
        answers = [model.module(batch).argmax(1) for batch in torch.split(stamp(inputs)[others], EVALUATION_BATCH_SIZE)]
    return float((torch.cat(answers) == BACKDOOR_TARGET).double().mean())


def table(cells: Sequence[Cell]) -> Mapping[str, Mapping[str, str]]:
    """Return the cells' texts by rule, then by attack."""
    rows: dict[str, dict[str, str]] = {}
    for cell in cells:
        rows.setdefault(cell.rule, {})[cell.attack] = cell.text
    return rows


def markdown(cells: Sequence[Cell]) -> str:
    """Write the table as Markdown: a line a rule, a column an attack."""
    rows = table(cells)
    attacks = list(dict.fromkeys(cell.attack for cell in cells))
    head = f"| rule | {' | '.join(attacks)} |\n|---|{'---|' * len(attacks)}\n"
    return head + "".join(
        f"| {rule} | {' | '.join(row.get(attack, '') for attack in attacks)} |\n" for rule, row in rows.items()
    )


def _missing(settings: LabSettings, rule: str) -> int:
    """Return how many updates a rule needs, where a round has fewer; else 0."""
    needed = UPDATES_NEEDED.get(rule)
    least = needed(settings.hostile) if needed else 0
    return least if settings.config.num_clients < least else 0


def _run(settings: LabSettings, rule: str, attack: str, seed: int) -> tuple[float, Arrays]:
    with tempfile.TemporaryDirectory(prefix="constellation-attacks-") as folder:
        config = replace(
            settings.config,
            attack=() if attack == NO_ATTACK else (f"{attack}:{settings.hostile}",),
            aggregation=rule,
            num_malicious=0 if rule == "mean" else settings.hostile,
            seed=seed,
            output=folder,
        )
        result = run(config)
    if result.state == "interrupted":  # Ctrl-C ends the whole experiment, not one of its runs
        raise KeyboardInterrupt
    if result.accuracy is None:
        raise UsageError("the attack laboratory needs a data set with a central test set; mnist-sample has one")
    return result.accuracy, result.arrays
