"""``csv:PATH``: a person's own table, one example a line.

The first line names the columns. The label is the column named ``label``, else ``target``, else the last; it may be
text. All other columns are numbers and are standardised by the training part. A fifth of each class is set aside for
the test. A line becomes an input of shape (1, 1, f), an image one pixel high, which ``linear`` and ``mlp`` take.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from shared.config import RunConfig
from shared.datasets.dataset import Dataset
from shared.datasets.split import encode_labels, standardise, stratified_split
from shared.errors import DatasetError

_LABEL_NAMES = ("label", "target")
_LARGEST = float(np.finfo(np.float32).max)


class _Lines(Protocol):
    """What ``csv.reader`` returns; the standard library has no public name for it."""

    @property
    def line_num(self) -> int: ...

    def __iter__(self) -> Iterator[list[str]]: ...


def load_csv(path: Path, config: RunConfig) -> Dataset:
    """Read a table.

    Raises:
        DatasetError: Names the line that is malformed, or says why the labels cannot be classes.
    """
    label_name, features, texts = _read(path)
    class_names, labels, _ = _encode(texts)
    if len(class_names) > max(2, len(labels) // 2):
        raise DatasetError(
            f"csv {path}: column {label_name!r} has {len(class_names)} different labels in {len(labels)} lines, which "
            "are no classes; name the label column 'label'"
        )
    train, test = stratified_split(labels, len(class_names), config.seed, where=f"csv {path}")
    train_inputs, test_inputs = features[train], features[test]
    standardise(train_inputs, test_inputs, axis=(0,))
    return Dataset(
        name=f"csv:{path.name}",
        train_inputs=torch.from_numpy(train_inputs[:, None, None]),  # (n, 1, 1, f)
        train_labels=torch.from_numpy(labels[train]),
        test_inputs=torch.from_numpy(test_inputs[:, None, None]),
        test_labels=torch.from_numpy(labels[test]),
        class_names=class_names,
    )


def _read(path: Path) -> tuple[str, NDArray[np.float32], list[str]]:
    """Return the label column's name, float32 features (n, f) and the labels' texts."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _parse(path, csv.reader(file, strict=True))
    except OSError as error:
        raise DatasetError(f"csv file {path} cannot be read: {error.strerror}; give csv:PATH of a table") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"csv {path} is not UTF-8 text; save it as CSV in UTF-8") from error


def _parse(path: Path, lines: _Lines) -> tuple[str, NDArray[np.float32], list[str]]:
    try:
        header: list[str] = next((line for line in lines if line), [])
        place = _label_place(path, header)
        rows: list[NDArray[np.float32]] = []
        labels: list[str] = []
        for cells in lines:
            if cells:
                where = f"csv {path}, line {lines.line_num}"
                rows.append(_features(where, header, cells, place))
                labels.append(_label(where, header, cells, place))
    except csv.Error as error:
        raise DatasetError(f"csv {path}, line {lines.line_num}: {error}") from error
    if not rows:
        raise DatasetError(f"csv {path} has no line below its header; add examples")
    return header[place], np.stack(rows), labels


def _label_place(path: Path, header: list[str]) -> int:
    names = [name.strip().lower() for name in header]
    if len(names) < 2:
        raise DatasetError(
            f"csv {path}: the first line must name at least one feature column and a label column, separated by commas"
        )
    if all(_is_number(name) for name in names):
        raise DatasetError(f"csv {path}: the first line holds numbers; it must name the columns")
    return next((names.index(name) for name in _LABEL_NAMES if name in names), len(names) - 1)


def _features(where: str, header: list[str], cells: list[str], place: int) -> NDArray[np.float32]:
    if len(cells) != len(header):
        raise DatasetError(
            f"{where}: {len(cells)} cells under {len(header)} column names; each line must have them all"
        )
    values = cells[:place] + cells[place + 1 :]
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        numbers = [math.nan]
    # Written so that NaN fails too: every comparison with it is false.
    if not all(-_LARGEST <= number <= _LARGEST for number in numbers):
        names = header[:place] + header[place + 1 :]
        name, value = next((n, v) for n, v in zip(names, values, strict=True) if not _is_number(v))
        raise DatasetError(f"{where}: column {name!r} must be a finite number, got {value[:40]!r}")
    return np.array(numbers, dtype=np.float32)


def _label(where: str, header: list[str], cells: list[str], place: int) -> str:
    label = cells[place].strip()
    if not label:
        raise DatasetError(f"{where}: column {header[place]!r} has no label")
    return label


def _is_number(text: str) -> bool:
    try:
        return -_LARGEST <= float(text) <= _LARGEST
    except ValueError:
        return False


def _encode(texts: list[str]) -> tuple[tuple[str, ...], NDArray[np.int64], NDArray[np.int64]]:
    """Number the labels: whole numbers by their value (2 before 10), anything else as text."""
    labels = np.array(texts, dtype=np.str_)
    if all(label.removeprefix("-").isdecimal() and len(label) < 18 for label in labels.tolist()):
        labels = labels.astype(np.int64)
    return encode_labels(labels, labels[:0])
