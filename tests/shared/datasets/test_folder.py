"""A folder of images by class."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shared.config import RunConfig
from shared.datasets.folder import load_folder
from shared.errors import DatasetError


def draw(path: Path, value: int | tuple[int, ...], *, mode: str = "L", size: tuple[int, int] = (4, 3)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path)
    return path


def ten_each(root: Path) -> Path:
    """Ten images each of two classes; image i of a class is of grey i, or 100 + i."""
    for first, name in ((0, "cat"), (100, "dog")):
        for i in range(10):
            draw(root / name / f"{i:02}.png", first + i)
    return root


def test_a_fifth_of_each_class_is_set_aside_for_the_test(tmp_path: Path) -> None:
    data = load_folder(ten_each(tmp_path / "pets"), RunConfig())
    assert (data.name, data.class_names, data.input_shape) == ("folder:pets", ("cat", "dog"), (1, 3, 4))
    assert data.train_labels.tolist() == [0] * 8 + [1] * 8
    assert data.test_labels.tolist() == [0] * 2 + [1] * 2
    greys = [*data.train_inputs[:, 0, 0, 0].tolist(), *data.test_inputs[:, 0, 0, 0].tolist()]
    assert sorted(greys) == [*range(10), *range(100, 110)], "each image once"
    for inputs, labels in ((data.train_inputs, data.train_labels), (data.test_inputs, data.test_labels)):
        assert [int(grey >= 100) for grey in inputs[:, 0, 0, 0].tolist()] == labels.tolist()


def test_the_seed_decides_the_split(tmp_path: Path) -> None:
    ten_each(tmp_path)

    def test_greys(seed: int) -> list[int]:
        greys: list[int] = load_folder(tmp_path, RunConfig(seed=seed)).test_inputs[:, 0, 0, 0].tolist()
        return greys

    assert test_greys(1) == test_greys(1)
    assert len({tuple(test_greys(seed)) for seed in range(5)}) > 1


def test_train_and_test_folders_are_taken_as_they_are(tmp_path: Path) -> None:
    draw(tmp_path / "train" / "b" / "1.png", 10)
    draw(tmp_path / "train" / "a" / "1.png", 20)
    draw(tmp_path / "test" / "b" / "9.png", 30)
    data = load_folder(tmp_path, RunConfig())
    assert data.class_names == ("a", "b")
    assert (data.train_inputs[:, 0, 0, 0].tolist(), data.train_labels.tolist()) == ([20, 10], [0, 1])
    assert (data.test_inputs[:, 0, 0, 0].tolist(), data.test_labels.tolist()) == ([30], [1])


def test_one_coloured_image_makes_all_rgb(tmp_path: Path) -> None:
    draw(tmp_path / "train" / "a" / "1.png", 7)
    draw(tmp_path / "train" / "b" / "1.png", (1, 2, 3, 255), mode="RGBA")
    draw(tmp_path / "test" / "a" / "1.png", 7)
    data = load_folder(tmp_path, RunConfig())
    assert data.input_shape == (3, 3, 4)
    assert data.train_inputs[:, :, 2, 3].tolist() == [[7, 7, 7], [1, 2, 3]]


def test_pixels_keep_their_place(tmp_path: Path) -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    for part in ("train", "test"):
        for name in "ab":
            path = draw(tmp_path / part / name / "1.png", 0)
            Image.fromarray(pixels).save(path)
    assert load_folder(tmp_path, RunConfig()).train_inputs[0, 0].tolist() == pixels.tolist()


def test_normalisation_is_the_training_images_own(tmp_path: Path) -> None:
    """Greys 51 and 153 are 0.2 and 0.6: mean 0.4, deviation 0.2; the test image does not count."""
    draw(tmp_path / "train" / "a" / "1.png", 51)
    draw(tmp_path / "train" / "b" / "1.png", 153)
    draw(tmp_path / "test" / "a" / "1.png", 255)
    data = load_folder(tmp_path, RunConfig())
    inputs, _ = data.train.everything()
    np.testing.assert_allclose(inputs[:, 0, 0, 0], [-1, 1], rtol=1e-5)
    np.testing.assert_allclose(data.test.everything()[0].numpy(), 3.0, rtol=1e-5)


def test_one_grey_for_all_does_not_divide_by_zero(tmp_path: Path) -> None:
    for i in range(3):
        draw(tmp_path / "a" / f"{i}.png", 9)
        draw(tmp_path / "b" / f"{i}.png", 9)
    inputs, _ = load_folder(tmp_path, RunConfig()).train.everything()
    np.testing.assert_allclose(inputs.numpy(), 0, atol=1e-4)


def test_an_image_of_another_size_is_named(tmp_path: Path) -> None:
    ten_each(tmp_path)
    odd = draw(tmp_path / "dog" / "05.png", 0, size=(5, 3))
    with pytest.raises(DatasetError, match=rf"{odd} is 5x3 pixels and .*cat/00\.png is 4x3 pixels"):
        load_folder(tmp_path, RunConfig())


@pytest.mark.parametrize("keep", [0, 20, 45])
def test_a_damaged_image_is_named(tmp_path: Path, keep: int) -> None:
    ten_each(tmp_path)
    victim = tmp_path / "cat" / "03.png"
    victim.write_bytes(victim.read_bytes()[:keep])
    with pytest.raises(DatasetError, match=rf"image {victim} .*repair or remove it"):
        load_folder(tmp_path, RunConfig())


def test_sixteen_bit_images_are_refused_not_clipped(tmp_path: Path) -> None:
    ten_each(tmp_path)
    odd = tmp_path / "cat" / "deep.png"
    Image.fromarray(np.full((3, 4), 40_000, dtype=np.uint16)).save(odd)
    with pytest.raises(DatasetError, match=rf"{odd} has mode I;16; convert it to 8-bit"):
        load_folder(tmp_path, RunConfig())


def test_what_is_no_image_is_passed_over(tmp_path: Path) -> None:
    ten_each(tmp_path)
    (tmp_path / "README.txt").write_text("about")
    (tmp_path / "cat" / "Thumbs.db").write_bytes(b"x")
    (tmp_path / "cat" / "._00.png").write_bytes(b"what a Mac leaves on a stick")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "a.png").write_bytes(b"x")
    os.mkfifo(tmp_path / "cat" / "pipe.png")
    data = load_folder(tmp_path, RunConfig())
    assert len(data.train_labels) + len(data.test_labels) == 20


def test_links_to_images_are_read_and_links_upwards_are_not_followed(tmp_path: Path) -> None:
    ten_each(tmp_path / "pets")
    far = draw(tmp_path / "elsewhere" / "x.png", 50)
    (tmp_path / "pets" / "cat" / "linked.png").symlink_to(far)
    (tmp_path / "pets" / "cat" / "up").symlink_to(tmp_path / "pets")
    data = load_folder(tmp_path / "pets", RunConfig())
    assert len(data.train_labels) + len(data.test_labels) == 21


def test_a_link_to_nothing_is_named(tmp_path: Path) -> None:
    ten_each(tmp_path)
    (tmp_path / "cat" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(DatasetError, match=r"gone\.png is a link to a file that is not there; remove it"):
        load_folder(tmp_path, RunConfig())


def test_a_missing_or_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="nowhere is not there; give folder:PATH"):
        load_folder(tmp_path / "nowhere", RunConfig())
    with pytest.raises(DatasetError, match=r"holds no images in sub-folders; expected .*/CLASS/NAME"):
        load_folder(tmp_path, RunConfig())


def test_one_class_is_refused(tmp_path: Path) -> None:
    for i in range(5):
        draw(tmp_path / "only" / f"{i}.png", i)
    with pytest.raises(DatasetError, match="at least 2 classes are needed"):
        load_folder(tmp_path, RunConfig())


def test_one_image_a_class_cannot_be_split(tmp_path: Path) -> None:
    draw(tmp_path / "a" / "1.png", 1)
    draw(tmp_path / "b" / "1.png", 2)
    with pytest.raises(DatasetError, match="no class has two examples, so none can be set aside"):
        load_folder(tmp_path, RunConfig())
