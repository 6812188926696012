"""How good a model is on labelled data: sums first, means last, so that shards add up whoever computed them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# On a CPU the activations of 100 images stay in the second-level cache, those of 500 do not.
EVALUATION_BATCH_SIZE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """What one or more shards of a test set add up to."""

    loss_sum: float  # cross-entropy in nats, summed over the examples
    num_correct: int
    num_examples: int

    @property
    def loss(self) -> float:
        """Mean cross-entropy of an example, in nats; NaN without examples."""
        return self.loss_sum / self.num_examples if self.num_examples else math.nan

    @property
    def accuracy(self) -> float:
        """Share of examples whose largest logit is their label's, 0 to 1; NaN without examples."""
        return self.num_correct / self.num_examples if self.num_examples else math.nan


def evaluate(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> Metrics:
    """Evaluate a model in evaluation mode; the mode it was in is restored.

    Args:
        model: Gives logits of shape (batch, num_classes).
        batches: Inputs and int64 labels, on any device.
    """
    device = device_of(model)
    losses: list[float] = []
    num_correct = num_examples = 0
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            for inputs, labels in batches:
                targets = labels.to(device)
                logits = model(inputs.to(device))
                losses.append(float(F.cross_entropy(logits, targets, reduction="none").double().sum()))
                num_correct += int((logits.argmax(1) == targets).sum())
                num_examples += len(labels)
    finally:
        model.train(was_training)
    return Metrics(loss_sum=sum_of(losses), num_correct=num_correct, num_examples=num_examples)


def merge_metrics(shards: Iterable[Metrics]) -> Metrics:
    """Add up shards of one test set, in any order, to the same result."""
    shards = list(shards)
    return Metrics(
        loss_sum=sum_of([shard.loss_sum for shard in shards]),
        num_correct=sum(shard.num_correct for shard in shards),
        num_examples=sum(shard.num_examples for shard in shards),
    )


def batches_of(
    inputs: Tensor, labels: Tensor, batch_size: int = EVALUATION_BATCH_SIZE
) -> Iterator[tuple[Tensor, Tensor]]:
    """Cut a test set into batches, in order, as views."""
    return zip(torch.split(inputs, batch_size), torch.split(labels, batch_size), strict=True)


def device_of(model: nn.Module) -> torch.device:
    """Tell where a model's parameters are; the CPU for a model without any."""
    first = next(model.parameters(), None)
    return torch.device("cpu") if first is None else first.device


def sum_of(values: list[float]) -> float:
    """Add up with one rounding, independent of the order; NaN and infinity stay what they are."""
    return math.fsum(values) if all(map(math.isfinite, values)) else sum(values)
