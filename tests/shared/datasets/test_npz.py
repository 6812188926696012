"""A person's own arrays: read without unpickling, or refused in one sentence."""

from __future__ import annotations

import contextlib
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.config import RunConfig
from shared.datasets.npz import load_npz
from shared.errors import DatasetError


def images(count: int, *, dtype: type = np.uint8, shape: tuple[int, ...] = (2, 3)) -> np.ndarray:
    """Image i is filled with i."""
    return np.broadcast_to(np.arange(count).reshape(-1, *[1] * len(shape)), (count, *shape)).astype(dtype)


def good(**changes: Any) -> dict[str, Any]:
    arrays = {
        "train_images": images(4),
        "train_labels": np.array([0, 1, 0, 1]),
        "test_images": images(2),
        "test_labels": np.array([1, 0]),
    }
    return {**arrays, **changes}


def saved(tmp_path: Path, arrays: dict[str, Any]) -> Path:
    path = tmp_path / "own.npz"
    np.savez(path, **arrays)
    return path


def test_both_parts_are_read(tmp_path: Path) -> None:
    data = load_npz(saved(tmp_path, good()), RunConfig())
    assert (data.name, data.input_shape, data.class_names) == ("npz:own.npz", (1, 2, 3), ("0", "1"))
    assert data.train_inputs[:, 0, 1, 2].tolist() == [0, 1, 2, 3]
    assert (data.train_labels.tolist(), data.test_labels.tolist()) == ([0, 1, 0, 1], [1, 0])


def test_channels_come_last_in_the_file_and_first_in_the_input(tmp_path: Path) -> None:
    colours = np.arange(4 * 2 * 3 * 3, dtype=np.uint8).reshape(4, 2, 3, 3)
    data = load_npz(saved(tmp_path, good(train_images=colours, test_images=colours[:2])), RunConfig())
    assert data.input_shape == (3, 2, 3)
    assert data.train_inputs[1, :, 1, 2].tolist() == colours[1, 1, 2].tolist()


def test_one_part_is_split_by_class(tmp_path: Path) -> None:
    arrays = {"images": images(20), "labels": np.arange(20) % 2}
    data = load_npz(saved(tmp_path, arrays), RunConfig())
    assert data.train_labels.bincount().tolist() == [8, 8]
    assert data.test_labels.bincount().tolist() == [2, 2]
    pixels = [*data.train_inputs[:, 0, 0, 0].tolist(), *data.test_inputs[:, 0, 0, 0].tolist()]
    assert sorted(pixels) == list(range(20))


def test_floats_are_standardised_by_the_training_part(tmp_path: Path) -> None:
    """Training 1 and 5: mean 3, deviation 2; a test image of 7 becomes 2."""
    train = np.stack([np.full((2, 3), 1.0), np.full((2, 3), 5.0)])
    arrays = good(
        train_images=train,
        train_labels=np.array([0, 1]),
        test_images=np.full((1, 2, 3), 7.0),
        test_labels=np.array([1]),
    )
    data = load_npz(saved(tmp_path, arrays), RunConfig())
    assert data.train_inputs[:, 0, 0, 0].tolist() == [-1.0, 1.0]
    assert data.test_inputs[0, 0, 0, 0] == 2.0
    assert data.normalization is None


@pytest.mark.parametrize(
    ("train", "test", "names", "numbers"),
    [
        (np.array([7, 30, 7, 30]), np.array([30, 7]), ("7", "30"), [0, 1, 0, 1]),
        (np.array([-1, 1, -1, 1]), np.array([1, 2]), ("-1", "1", "2"), [0, 1, 0, 1]),
        (np.array(["b", "a", "b", "a"]), np.array(["a", "b"]), ("a", "b"), [1, 0, 1, 0]),
        (np.array([[0], [1], [0], [1]]), np.array([[1], [0]]), ("0", "1"), [0, 1, 0, 1]),
    ],
)
def test_labels_become_classes(
    tmp_path: Path, train: np.ndarray, test: np.ndarray, names: tuple[str, ...], numbers: list[int]
) -> None:
    data = load_npz(saved(tmp_path, good(train_labels=train, test_labels=test)), RunConfig())
    assert data.class_names == names
    assert data.train_labels.tolist() == numbers


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        (
            {"a": images(2)},
            "holds a; expected train_images, train_labels, test_images, test_labels, or images and labels",
        ),
        ({"train_images": images(2), "train_labels": np.array([0, 1])}, "holds train_images, train_labels; expected"),
        ({}, "holds nothing; expected"),
        (good(train_images=images(4, dtype=np.int64)), r"train_images must be uint8 or float, got int64 \(4, 2, 3\)"),
        (good(train_images=images(4, shape=(6,))), r"must be \(n, h, w\), or \(n, h, w, c\) .* got uint8 \(4, 6\)"),
        (good(train_images=images(4, shape=(3, 8, 8))), "a transpose puts channels last"),
        (good(train_images=images(0), train_labels=np.zeros(0, dtype=int)), r"must be \(n, h, w\)"),
        (good(train_images=images(5)), "train_images holds 5 images and train_labels 4 labels"),
        (good(test_images=images(2, shape=(3, 3))), "both must have one shape and dtype"),
        (good(test_images=images(2, dtype=np.float32)), "both must have one shape and dtype"),
        (
            good(train_labels=np.array([0.0, 1.0, 0.0, 1.0])),
            r"train_labels must be whole numbers or texts .* got float64",
        ),
        (good(train_labels=np.zeros((4, 2), dtype=int)), r"of shape \(n,\), got int64 \(4, 2\)"),
        (good(train_labels=np.array(["a", "b", "a", "b"])), "both be whole numbers or both texts"),
        (good(train_labels=np.zeros(4, dtype=int), test_labels=np.zeros(2, dtype=int)), "at least 2 classes"),
        (good(train_images=np.full((4, 2, 3), np.nan), test_images=np.ones((2, 2, 3))), "holds NaN, infinity"),
        (good(train_images=np.full((4, 2, 3), 1e300), test_images=np.ones((2, 2, 3))), "beyond float32"),
        ({"images": images(3), "labels": np.arange(3)}, "no class has two examples"),
    ],
)
def test_a_malformed_file_is_refused_in_one_sentence(tmp_path: Path, arrays: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DatasetError, match=sentence) as caught:
        load_npz(saved(tmp_path, arrays), RunConfig())
    assert "own.npz" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    path = saved(tmp_path, good(train_labels=np.array([{}, 1, "x", None], dtype=object)))
    with pytest.raises(DatasetError, match="it holds Python objects, which are never read") as caught:
        load_npz(path, RunConfig())
    assert "allow_pickle" not in str(caught.value), "no advice to run the file's code"


@pytest.mark.parametrize("body", [b"", b"PK\x03\x04", b"not a zip", b"cos\nabort\n(tR."])
def test_what_is_no_npz_is_refused(tmp_path: Path, body: bytes) -> None:
    path = tmp_path / "own.npz"
    path.write_bytes(body)
    with pytest.raises(DatasetError, match=r"own\.npz cannot be read .*save it with numpy\.savez"):
        load_npz(path, RunConfig())


def test_a_single_array_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.npz"
    with path.open("wb") as file:
        np.save(file, images(2))
    with pytest.raises(DatasetError, match="File is not a zip file"):
        load_npz(path, RunConfig())


def test_a_member_that_is_no_array_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.npz"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("images.npy", b"text")
        file.writestr("labels.npy", b"text")
    with pytest.raises(DatasetError, match="cannot be read"):
        load_npz(path, RunConfig())


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="nowhere is not there; give npz:PATH"):
        load_npz(tmp_path / "nowhere", RunConfig())


def test_a_header_that_claims_the_machines_memory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.npz"
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (2**50, 2, 2)})
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("images.npy", header.getvalue())
        file.writestr("labels.npy", header.getvalue())
    with pytest.raises(DatasetError, match="cannot be read"):
        load_npz(path, RunConfig())


@given(position=st.integers(0, 2_000), value=st.integers(0, 255), cut=st.booleans())
def test_hostile_bytes_never_raise_anything_else(
    tmp_path_factory: pytest.TempPathFactory, position: int, value: int, cut: bool
) -> None:
    folder = tmp_path_factory.mktemp("npz")
    path = saved(folder, good())
    body = bytearray(path.read_bytes())
    body[position % len(body)] = value
    path.write_bytes(body[: position % len(body)] if cut else body)
    with contextlib.suppress(DatasetError):
        load_npz(path, RunConfig())
