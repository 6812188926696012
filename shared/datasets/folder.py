"""``folder:PATH``: a person's own images, one sub-folder a class.

``PATH/train/CLASS/*.png`` and ``PATH/test/CLASS/*.png`` where both sub-folders exist, else ``PATH/CLASS/*.png`` with a
fifth of each class set aside for the test. Pictures that are all grey stay grey, else all become RGB; transparency is
dropped. Hidden files and files that are no images by their name are passed over.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from shared.config import RunConfig
from shared.datasets.dataset import Dataset
from shared.datasets.split import encode_labels, image_normalization, stratified_split
from shared.errors import DatasetError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm"})
_GREY_MODES = frozenset({"1", "L", "LA"})
_COLOUR_MODES = frozenset({"RGB", "RGBA", "P", "PA", "CMYK", "YCbCr", "HSV", "LAB", "RGBX"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Picture:
    path: Path
    label: str


def load_folder(path: Path, config: RunConfig) -> Dataset:
    """Read a folder of images.

    Raises:
        DatasetError: There is no such folder, an image is damaged or of another size, or there are too few.
    """
    if not path.is_dir():
        raise DatasetError(f"folder {path} is not there; give folder:PATH with one sub-folder of images a class")
    parts = [path / "train", path / "test"]
    has_parts = all(part.is_dir() for part in parts)
    pictures = [_pictures(part) for part in (parts if has_parts else [path])]
    mode, size = _common_form([picture for part in pictures for picture in part])
    images = [_read_all(part, mode, size) for part in pictures]
    labels = [np.array([picture.label for picture in part], dtype=np.str_) for part in pictures]
    if not has_parts:
        class_names, numbers, _ = encode_labels(labels[0], labels[0][:0])
        train, test = stratified_split(numbers, len(class_names), config.seed, where=f"folder {path}")
        images, (train_labels, test_labels) = [images[0][train], images[0][test]], (numbers[train], numbers[test])
    else:
        class_names, train_labels, test_labels = encode_labels(labels[0], labels[1])
    return Dataset(
        name=f"folder:{path.name}",
        train_inputs=torch.from_numpy(images[0]),
        train_labels=torch.from_numpy(train_labels),
        test_inputs=torch.from_numpy(images[1]),
        test_labels=torch.from_numpy(test_labels),
        class_names=class_names,
        normalization=image_normalization(images[0]),
    )


def _pictures(folder: Path) -> list[_Picture]:
    """List the images below each class's folder, in an order that does not depend on the file system."""
    try:
        classes = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
        found = [_Picture(path=path, label=one.name) for one in classes for path in sorted(_image_files(one))]
    except OSError as error:
        raise DatasetError(f"{error.filename} cannot be read: {error.strerror}") from error
    if not found:
        raise DatasetError(
            f"{folder} holds no images in sub-folders; expected {folder}/CLASS/NAME with NAME ending in "
            f"{', '.join(sorted(SUFFIXES))}"
        )
    return found


def _image_files(folder: Path) -> Iterator[Path]:
    """Walk one class's folder. Links to folders below it are not followed: a link upwards would never end."""
    for place, folders, names in os.walk(folder, onerror=_raise):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(place) / name
            if name.startswith(".") or path.suffix.lower() not in SUFFIXES:
                continue
            if path.is_symlink() and not path.exists():
                raise DatasetError(f"image {path} is a link to a file that is not there; remove it")
            if path.is_file():  # neither a pipe nor a device, which would block
                yield path


def _raise(error: OSError) -> None:
    raise error


def _common_form(pictures: list[_Picture]) -> tuple[str, tuple[int, int]]:
    """Find the mode that fits all images and the one size they have, from their headers.

    Returns:
        "L" or "RGB", and (width, height).
    """
    first_size: tuple[int, int] | None = None
    is_grey = True
    for picture in pictures:
        with _opened(picture.path) as image:
            if image.mode not in _GREY_MODES | _COLOUR_MODES:
                raise DatasetError(f"image {picture.path} has mode {image.mode}; convert it to 8-bit grey or RGB")
            is_grey = is_grey and image.mode in _GREY_MODES
            first_size = first_size or image.size
            if image.size != first_size:
                raise DatasetError(
                    f"image {picture.path} is {_size(image.size)} and {pictures[0].path} is {_size(first_size)}; "
                    "all images must have one size"
                )
    return "L" if is_grey else "RGB", first_size or (0, 0)


def _read_all(pictures: list[_Picture], mode: str, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Decode into uint8 (n, c, h, w)."""
    width, height = size
    shape = (len(pictures), 1 if mode == "L" else 3, height, width)
    try:
        images = np.empty(shape, dtype=np.uint8)
    except MemoryError as error:
        raise DatasetError(
            f"{len(pictures)} images of {_size(size)} do not fit into memory; make them smaller"
        ) from error
    for index, picture in enumerate(pictures):
        with _opened(picture.path) as image:
            pixels = _decode(image, mode, picture.path)
            images[index] = pixels[None] if mode == "L" else pixels.transpose(2, 0, 1)  # (h, w, c) -> (c, h, w)
    return images


def _opened(path: Path) -> Image.Image:
    try:
        return Image.open(path)
    except Exception as error:  # hostile bytes: Pillow's decoders raise OSError, ValueError, SyntaxError and more
        raise DatasetError(f"image {path} cannot be read ({_reason(error)}); repair or remove it") from error


def _decode(image: Image.Image, mode: str, path: Path) -> NDArray[np.uint8]:
    try:
        return np.asarray(image.convert(mode), dtype=np.uint8)
    except Exception as error:  # as above: truncated or hostile bytes show only here
        raise DatasetError(f"image {path} is damaged ({_reason(error)}); repair or remove it") from error


def _reason(error: Exception) -> str:
    return "it is no image" if isinstance(error, UnidentifiedImageError) else str(error) or type(error).__name__


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]} pixels"
