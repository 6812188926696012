"""``npz:PATH``: a person's own images as numpy arrays.

Keys ``train_images``, ``train_labels``, ``test_images`` and ``test_labels``, or ``images`` and ``labels``, of which a
fifth of each class is set aside for the test. Images are (n, h, w) or (n, h, w, c), bytes or floats; both are
normalised by the training part's own mean and deviation, channel by channel. Labels are whole numbers or texts.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from shared.config import RunConfig
from shared.datasets.dataset import Dataset
from shared.datasets.split import encode_labels, image_normalization, standardise, stratified_split
from shared.errors import DatasetError

_SPLIT_KEYS = ("train_images", "train_labels", "test_images", "test_labels")
_WHOLE_KEYS = ("images", "labels")
_MAX_CHANNELS = 4  # more in the last place are rows, not colours: the array is (n, c, h, w)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    images: NDArray[Any]  # (n, c, h, w), uint8 or float32
    labels: NDArray[Any]  # (n,), whole numbers or texts


def load_npz(path: Path, config: RunConfig) -> Dataset:
    """Read an ``.npz`` file of images; nothing in it is unpickled.

    Raises:
        DatasetError: Says which array is missing or malformed, and what it should be.
    """
    arrays = _read(path)
    if all(key in arrays for key in _SPLIT_KEYS):
        train = _part(path, arrays, "train_images", "train_labels")
        test = _part(path, arrays, "test_images", "test_labels")
        if train.images.shape[1:] != test.images.shape[1:] or train.images.dtype != test.images.dtype:
            raise DatasetError(
                f"npz {path}: train_images are {_describe(arrays['train_images'])} and test_images "
                f"{_describe(arrays['test_images'])}; both must have one shape and dtype"
            )
        class_names, train_labels, test_labels = _encode(path, train.labels, test.labels)
        return _dataset(path, train.images, train_labels, test.images, test_labels, class_names)
    whole = _part(path, arrays, *_WHOLE_KEYS)
    class_names, labels, _ = _encode(path, whole.labels, whole.labels[:0])
    first, second = stratified_split(labels, len(class_names), config.seed, where=f"npz {path}")
    return _dataset(path, whole.images[first], labels[first], whole.images[second], labels[second], class_names)


def _dataset(
    path: Path,
    train_images: NDArray[Any],
    train_labels: NDArray[Any],
    test_images: NDArray[Any],
    test_labels: NDArray[Any],
    class_names: tuple[str, ...],
) -> Dataset:
    is_bytes = train_images.dtype == np.uint8
    if not is_bytes:
        standardise(train_images, test_images, axis=(0, 2, 3))
    return Dataset(
        name=f"npz:{path.name}",
        train_inputs=torch.from_numpy(train_images),
        train_labels=torch.from_numpy(train_labels),
        test_inputs=torch.from_numpy(test_images),
        test_labels=torch.from_numpy(test_labels),
        class_names=class_names,
        normalization=image_normalization(train_images) if is_bytes else None,
    )


def _read(path: Path) -> dict[str, NDArray[Any]]:
    wanted = f"expected {', '.join(_SPLIT_KEYS)}, or {' and '.join(_WHOLE_KEYS)}"
    if not path.is_file():
        raise DatasetError(f"npz file {path} is not there; give npz:PATH of a file made by numpy.savez")
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
            keys = _SPLIT_KEYS if set(_SPLIT_KEYS) <= set(names) else _WHOLE_KEYS
            if not set(keys) <= set(names):
                raise DatasetError(f"npz {path} holds {', '.join(names) or 'nothing'}; {wanted}")
            return {key: _array(archive, key) for key in keys}
    except DatasetError:
        raise
    except Exception as error:  # hostile bytes: zipfile, zlib and numpy raise a dozen kinds between them
        raise DatasetError(
            f"npz {path} cannot be read ({_reason(error)}); save it with numpy.savez, {wanted}"
        ) from error


def _array(archive: zipfile.ZipFile, key: str) -> NDArray[Any]:
    with archive.open(f"{key}.npy") as member:
        array: NDArray[Any] = np.lib.format.read_array(member, allow_pickle=False)
        return array


def _reason(error: Exception) -> str:
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    # numpy's own text advises to unpickle, which runs whatever code the file holds.
    return "it holds Python objects, which are never read" if "pickle" in text else text


def _part(path: Path, arrays: Mapping[str, NDArray[Any]], images_key: str, labels_key: str) -> _Part:
    images = _images(path, images_key, arrays[images_key])
    labels = arrays[labels_key]
    if labels.ndim == 2 and labels.shape[1] == 1:  # as Keras keeps CIFAR-10
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iuU":
        raise DatasetError(
            f"npz {path}: {labels_key} must be whole numbers or texts of shape (n,), got {_describe(labels)}"
        )
    if len(labels) != len(images):
        raise DatasetError(
            f"npz {path}: {images_key} holds {len(images)} images and {labels_key} {len(labels)} labels; "
            "there must be one label an image"
        )
    return _Part(images=images, labels=labels)


def _images(path: Path, key: str, images: NDArray[Any]) -> NDArray[Any]:
    """Check one array of images and return it as (n, c, h, w), uint8 or float32."""
    shown = _describe(images)
    if images.dtype != np.uint8 and images.dtype.kind != "f":
        raise DatasetError(f"npz {path}: {key} must be uint8 or float, got {shown}")
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or 0 in images.shape or images.shape[3] > _MAX_CHANNELS:
        raise DatasetError(
            f"npz {path}: {key} must be (n, h, w), or (n, h, w, c) with 1 to {_MAX_CHANNELS} channels, got {shown}; "
            "a transpose puts channels last"
        )
    if images.dtype.kind == "f":
        with np.errstate(over="ignore"):  # a float64 too large for float32 becomes infinity, and is refused here
            images = images.astype(np.float32)
        if not np.isfinite(images).all():
            raise DatasetError(f"npz {path}: {key} holds NaN, infinity or numbers beyond float32; remove those images")
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))  # (n, h, w, c) -> (n, c, h, w)


def _encode(path: Path, train: NDArray[Any], test: NDArray[Any]) -> tuple[tuple[str, ...], NDArray[Any], NDArray[Any]]:
    if train.dtype.kind != test.dtype.kind and "U" in (train.dtype.kind, test.dtype.kind):
        raise DatasetError(f"npz {path}: train_labels and test_labels must both be whole numbers or both texts")
    return encode_labels(train, test)


def _describe(array: NDArray[Any]) -> str:
    return f"{array.dtype} {array.shape}"
