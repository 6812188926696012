"""How good a trained model is, class by class, on the run's own test data or on another set of the same shape."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from constellation.trained_model import Data, TrainedModel
from shared.datasets.dataset import Dataset
from shared.errors import DatasetError
from shared.evaluation import EVALUATION_BATCH_SIZE, batches_of, evaluate

Batches = Iterator[tuple[Tensor, Tensor]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassScore:
    """One class of the test data."""

    name: str
    num_examples: int
    recall: float | None  # share of its examples that were recognised; None without examples
    precision: float | None  # share of the answers with its name that were right; None without such answers
    mistaken_for: str  # what its examples were most often taken for instead, "" when never
    num_mistaken: int  # how often for that


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """A model on labelled data."""

    dataset: str
    num_examples: int
    accuracy: float
    loss: float  # mean cross-entropy in nats
    classes: tuple[ClassScore, ...]
    remarks: tuple[str, ...] = ()  # what whoever reads the figures should know
    confusion: NDArray[np.int64] = field(repr=False, compare=False)  # [label, answer]


def score(model: TrainedModel, data: Data | None = None, name: str = "") -> Scores:
    """Evaluate a model.

    Args:
        model: The model.
        data: What to evaluate on; by default the test data of its run.
        name: What to call the data.

    Raises:
        DatasetError: The data does not fit the model.
    """
    remarks: list[str] = []
    labels_of = None
    if data is None:
        data, name = model.data, model.config.dataset
    else:
        data = _as_the_model_saw_it(data, model, remarks)
        labels_of = _matched_labels(model.data.class_names, data.class_names, name, remarks)
    recorder = _Recorder(model.module)
    metrics = evaluate(recorder, recorder.noting(_test_batches(data), labels_of))
    if not metrics.num_examples:
        raise DatasetError(f"dataset {name!r} has no test examples; name another with --dataset")
    confusion = recorder.confusion(model.data.num_classes)
    return Scores(
        dataset=name,
        num_examples=metrics.num_examples,
        accuracy=metrics.accuracy,
        loss=metrics.loss,
        classes=class_scores(confusion, model.data.class_names),
        remarks=tuple(remarks),
        confusion=confusion,
    )


def class_scores(confusion: NDArray[np.int64], class_names: Sequence[str]) -> tuple[ClassScore, ...]:
    """Summarise a confusion matrix [label, answer] by class."""
    scores = []
    for index, name in enumerate(class_names):
        right, asked, answered = (
            int(n) for n in (confusion[index, index], confusion[index].sum(), confusion[:, index].sum())
        )
        wrong = confusion[index].copy()
        wrong[index] = 0
        other = int(wrong.argmax())
        scores.append(
            ClassScore(
                name=name,
                num_examples=asked,
                recall=right / asked if asked else None,
                precision=right / answered if answered else None,
                mistaken_for=class_names[other] if wrong[other] else "",
                num_mistaken=int(wrong[other]),
            )
        )
    return tuple(scores)


class _Recorder(nn.Module):
    """Answers as the model does and notes each answer beside its label, so that one pass gives every figure."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self._labels: list[Tensor] = []
        self._answers: list[Tensor] = []

    def forward(self, inputs: Tensor) -> Tensor:
        """Give the model's logits."""
        logits: Tensor = self.model(inputs)
        self._answers.append(logits.argmax(1).cpu())
        return logits

    def noting(self, batches: Batches, labels_of: Tensor | None) -> Batches:
        """Pass batches on with the model's own numbers for their labels."""
        for inputs, labels in batches:
            numbers = labels if labels_of is None else labels_of[labels]
            self._labels.append(numbers)
            yield inputs, numbers

    def confusion(self, num_classes: int) -> NDArray[np.int64]:
        """Count answers: [label, answer]."""
        pairs = torch.cat(self._labels) * num_classes + torch.cat(self._answers)
        counts = torch.bincount(pairs, minlength=num_classes * num_classes)
        return np.asarray(counts.reshape(num_classes, num_classes).numpy(), dtype=np.int64)


def _test_batches(data: Data) -> Batches:
    central = data.test.everything() if isinstance(data, Dataset) else data.central_test
    if central is not None:
        return batches_of(*central)
    assert not isinstance(data, Dataset)
    return (
        batch
        for partition_id in range(data.num_clients)
        for batch in data.client(partition_id).test_batches(EVALUATION_BATCH_SIZE)
    )


def _as_the_model_saw_it(data: Data, model: TrainedModel, remarks: list[str]) -> Data:
    """Check the shape, and normalise another data set's images as the model's training images were."""
    if data.input_shape != model.data.input_shape:
        raise DatasetError(
            f"inputs of shape {_shape(data.input_shape)} do not fit the model of run {model.run_id}, which takes "
            f"{_shape(model.data.input_shape)}; name a data set of that shape"
        )
    if isinstance(data, Dataset) and data.normalization != model.data.normalization:
        if data.normalization is None or model.data.normalization is None:
            remarks.append("the values are used as they are: it is not known how to normalise them as in training")
        else:
            remarks.append(f"the images are normalised as those of {model.config.dataset} were")
            return replace(data, normalization=model.data.normalization)
    return data


def _matched_labels(known: Sequence[str], named: Sequence[str], where: str, remarks: list[str]) -> Tensor | None:
    """Find the model's number for each class of another data set: by name, or else by place; None where equal."""
    if tuple(named) == tuple(known):
        return None
    if set(named) <= set(known):
        return torch.tensor([list(known).index(name) for name in named])
    if len(named) != len(known):
        raise DatasetError(
            f"dataset {where!r} has {len(named)} classes ({_some(named)}), the model knows {len(known)} "
            f"({_some(known)}); name a data set with the same classes"
        )
    remarks.append(f"its classes have other names ({_some(named)}): they are matched by their place")
    return None


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
