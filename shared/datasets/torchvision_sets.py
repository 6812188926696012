"""``mnist``, ``fashion-mnist`` and ``cifar10``, in torchvision's layout and from torchvision's addresses.

The data folder comes first: what lies there, gunzipped or not, is read and nothing is downloaded. torchvision itself is
imported only to download, and for CIFAR-10, whose files it reads after checking their published checksums.
"""

from __future__ import annotations

import tarfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import platformdirs
import torch
from numpy.typing import NDArray

from shared.config import RunConfig
from shared.datasets.dataset import Dataset, Normalization
from shared.datasets.download import OpenUrl, download, md5_of, open_url
from shared.datasets.idx import find_idx, read_idx
from shared.datasets.mnist_sample import DIGITS, MNIST_NORMALIZATION
from shared.errors import DatasetError

TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
_IDX_FILES = (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS)
_CIFAR_FOLDER = "cifar-10-batches-py"


@dataclass(frozen=True, slots=True, kw_only=True)
class _IdxSet:
    name: str
    torchvision_class: str  # also the folder's name
    class_names: tuple[str, ...]
    normalization: Normalization


_MNIST = _IdxSet(name="mnist", torchvision_class="MNIST", class_names=DIGITS, normalization=MNIST_NORMALIZATION)
_FASHION_MNIST = _IdxSet(
    name="fashion-mnist",
    torchvision_class="FashionMNIST",
    class_names=(
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
    normalization=Normalization(mean=(0.2860,), std=(0.3530,)),
)
_CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_CIFAR_NORMALIZATION = Normalization(mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616))


def data_folder(config: RunConfig) -> Path:
    """Return ``data-dir``, or the user's cache folder."""
    if config.data_dir:
        return Path(config.data_dir).expanduser()
    return platformdirs.user_cache_path("constellation-fl") / "datasets"


def load_mnist(config: RunConfig, opener: OpenUrl = open_url) -> Dataset:
    """Load MNIST's 60,000 and 10,000 digits, 1x28x28.

    Raises:
        DatasetError: It is not there and cannot be downloaded, or a file is damaged.
    """
    return _load_idx_set(_MNIST, config, opener)


def load_fashion_mnist(config: RunConfig, opener: OpenUrl = open_url) -> Dataset:
    """Load Fashion-MNIST's 60,000 and 10,000 pieces of clothing, 1x28x28.

    Raises:
        DatasetError: It is not there and cannot be downloaded, or a file is damaged.
    """
    return _load_idx_set(_FASHION_MNIST, config, opener)


def load_cifar10(config: RunConfig, opener: OpenUrl = open_url) -> Dataset:
    """Load CIFAR-10's 50,000 and 10,000 photographs, 3x32x32.

    Raises:
        DatasetError: It is not there and cannot be downloaded, or a file is damaged.
    """
    folder = data_folder(config)
    _provide_cifar10(folder, opener)
    train_inputs, train_labels = _read_cifar10(folder, train=True)
    test_inputs, test_labels = _read_cifar10(folder, train=False)
    return Dataset(
        name="cifar10",
        train_inputs=torch.from_numpy(train_inputs),
        train_labels=torch.from_numpy(train_labels),
        test_inputs=torch.from_numpy(test_inputs),
        test_labels=torch.from_numpy(test_labels),
        class_names=_CIFAR_CLASSES,
        normalization=_CIFAR_NORMALIZATION,
    )


def _load_idx_set(kind: _IdxSet, config: RunConfig, opener: OpenUrl) -> Dataset:
    folder = data_folder(config) / kind.torchvision_class / "raw"
    if not all(find_idx(folder, name) for name in _IDX_FILES):
        _download_idx_set(kind, folder, opener)
    train_inputs, train_labels = _read_pair(folder, TRAIN_IMAGES, TRAIN_LABELS)
    test_inputs, test_labels = _read_pair(folder, TEST_IMAGES, TEST_LABELS)
    return Dataset(
        name=kind.name,
        train_inputs=train_inputs,
        train_labels=train_labels,
        test_inputs=test_inputs,
        test_labels=test_labels,
        class_names=kind.class_names,
        normalization=kind.normalization,
    )


def _read_pair(folder: Path, images_name: str, labels_name: str) -> tuple[torch.Tensor, torch.Tensor]:
    images = read_idx(_existing(folder, images_name), 3)
    labels = read_idx(_existing(folder, labels_name), 1)
    return torch.from_numpy(images[:, None]), torch.from_numpy(labels.astype(np.int64))  # (n, 1, h, w)


def _existing(folder: Path, name: str) -> Path:
    path = find_idx(folder, name)
    if path is None:
        raise DatasetError(f"{folder / name} went away while it was to be read; run again")
    return path


def _download_idx_set(kind: _IdxSet, folder: Path, opener: OpenUrl) -> None:
    import torchvision.datasets

    source = getattr(torchvision.datasets, kind.torchvision_class)
    way_out = (
        f"connect to the network, or put {', '.join(_IDX_FILES)} (or the same ending in .gz) into "
        f"DIR/{kind.torchvision_class}/raw and give --data-dir DIR, or take --dataset mnist-sample, which needs nothing"
    )
    for file_name, md5 in source.resources:
        if find_idx(folder, file_name.removesuffix(".gz")) is None:
            urls = [f"{mirror}{file_name}" for mirror in source.mirrors]
            missing = f"{kind.name} is not in {folder}"
            download(urls, md5, folder / file_name, missing=missing, way_out=way_out, opener=opener)


def _provide_cifar10(folder: Path, opener: OpenUrl) -> None:
    """Make torchvision's extracted files from its archive, and the archive from the network, as far as they lack."""
    from torchvision.datasets import CIFAR10

    if _cifar10_is_whole(folder):
        return
    archive = folder / CIFAR10.filename
    if not archive.is_file() or md5_of(archive) != CIFAR10.tgz_md5:
        way_out = (
            f"connect to the network, or put {CIFAR10.filename} or the extracted "
            f"{_CIFAR_FOLDER} into DIR and give --data-dir DIR, or take --dataset mnist-sample, which needs nothing"
        )
        download(
            [CIFAR10.url],
            CIFAR10.tgz_md5,
            archive,
            missing=f"cifar10 is not in {folder}",
            way_out=way_out,
            opener=opener,
        )
    _extract_cifar10(archive, folder)


def _cifar10_files() -> list[tuple[str, str]]:
    from torchvision.datasets import CIFAR10

    meta = (CIFAR10.meta["filename"], CIFAR10.meta["md5"])
    return [(str(name), str(md5)) for name, md5 in [*CIFAR10.train_list, *CIFAR10.test_list, meta]]


def _cifar10_is_whole(folder: Path) -> bool:
    files = [(folder / _CIFAR_FOLDER / name, md5) for name, md5 in _cifar10_files()]
    return all(path.is_file() and md5_of(path) == md5 for path, md5 in files)


def _extract_cifar10(archive: Path, folder: Path) -> None:
    """Write the few files that are wanted, by name: an archive's own paths are never followed."""
    target = folder / _CIFAR_FOLDER
    try:
        target.mkdir(parents=True, exist_ok=True)
        with tarfile.open(archive) as tar:
            for name, _ in _cifar10_files():
                member = tar.extractfile(f"{_CIFAR_FOLDER}/{name}")
                if member is None:
                    raise KeyError(name)
                (target / name).write_bytes(member.read())
    except (OSError, KeyError, tarfile.TarError, EOFError) as error:
        raise DatasetError(
            f"{archive} cannot be extracted into {target} ({error}); "
            "make the folder writable, or delete the archive and fetch it again"
        ) from error


def _read_cifar10(folder: Path, *, train: bool) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    from torchvision.datasets import CIFAR10

    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # the files are from 2009; newer numpys complain about how they were written
            found = CIFAR10(str(folder), train=train, download=False)
    except RuntimeError as error:
        raise DatasetError(f"{folder / _CIFAR_FOLDER} is damaged ({error}); delete it and run again") from error
    images = np.ascontiguousarray(found.data.transpose(0, 3, 1, 2), dtype=np.uint8)  # (n, h, w, c) -> (n, c, h, w)
    return images, np.asarray(found.targets, dtype=np.int64)
