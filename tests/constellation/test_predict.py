"""`constellation predict`: pictures of real digits, as people have them, get the right answers."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from constellation import cli
from constellation.training import run
from shared.config import RunConfig
from shared.datasets.mnist_sample import load_mnist_sample

Small = Callable[..., RunConfig]


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    code = cli.call(cli.build_app(), ["predict", *map(str, arguments)])
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.fixture(scope="module")
def digits() -> list[tuple[np.ndarray, int]]:
    """Two test digits of each class, light on dark."""
    data = load_mnist_sample(RunConfig())
    labels = data.test_labels.numpy()
    places = [int(place) for digit in range(10) for place in np.flatnonzero(labels == digit)[:2]]
    return [(data.test_inputs.numpy()[place, 0], int(labels[place])) for place in places]


def on_paper(digit: np.ndarray) -> Image.Image:
    """Draw a digit as a photograph has it: dark on a large light page, off the middle, in colour."""
    page = Image.new("RGB", (500, 400), (235, 230, 220))
    ink = Image.fromarray(255 - digit).resize((220, 220), Image.Resampling.BICUBIC)
    page.paste((40, 30, 60), (230, 120), Image.fromarray(255 - np.asarray(ink)))
    return page


@pytest.mark.parametrize("kind", ["as they are", "on paper"])
def test_real_digits_are_recognised(
    digits: list[tuple[np.ndarray, int]],
    digits_run: Path,
    tmp_path: Path,
    kind: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    paths = [tmp_path / f"{number}-{label}.png" for number, (_, label) in enumerate(digits)]
    for path, (digit, _) in zip(paths, digits, strict=True):
        (Image.fromarray(digit) if kind == "as they are" else on_paper(digit)).save(path)
    code, out, err = call(capsys, digits_run, *paths, "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert [image["image"] for image in found["images"]] == [str(path) for path in paths]
    right = sum(image["class"] == str(label) for image, (_, label) in zip(found["images"], digits, strict=True))
    assert right >= 18
    for image in found["images"]:
        shares = [one["probability"] for one in image["predictions"]]
        assert shares == sorted(shares, reverse=True)
        assert len(shares) == 3
        assert sum(shares) <= 1 + 1e-9
        assert image["class"] == image["predictions"][0]["class"]
    if kind == "on paper":
        assert found["images"][0]["steps"] == [
            "500x400 colour",
            "made grey",
            "inverted: dark on light",
            "drawing cut out and centred as MNIST's digits are, 28x28",
        ]


def seven(tmp_path: Path) -> Path:
    page = Image.new("L", (300, 300), 255)
    ImageDraw.Draw(page).line([(80, 60), (220, 60), (130, 250)], fill=0, width=20)
    page.save(tmp_path / "seven.png")
    return tmp_path / "seven.png"


def test_a_person_sees_the_picture_and_the_three_likeliest(
    digits_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = seven(tmp_path)
    code, out, err = call(capsys, "last", path, "--output", digits_run.parent)
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert lines[0] == f"run {digits_run.name}: cnn trained on mnist-sample"
    assert lines[2] == (
        f"{path} (300x300 grey, inverted: dark on light, drawing cut out and centred as MNIST's digits are, 28x28)"
    )
    assert len([line for line in lines if line.startswith("  |")]) == 14
    assert lines[-3].split()[1] == "7"
    assert lines[-3].split()[0].endswith("%")
    assert "  |" not in call(capsys, digits_run, path, "--no-picture")[1]


def test_not_inverting_shows_the_model_the_paper(
    digits_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = (digits_run, seven(tmp_path), "--no-invert", "--no-center")
    out = call(capsys, *arguments)[1]
    assert "inverted" not in out
    assert "scaled to 28x28" in out
    assert "@@@@@@" in out


def test_one_bad_picture_is_one_sentence_and_nothing_else(
    digits_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    code, out, err = call(capsys, digits_run, seven(tmp_path), bad)
    assert (code, out, err) == (2, "", f"error: image {bad} is not a picture; name a PNG or JPEG file\n")


def test_a_run_on_numbers_has_no_pictures(small: Small, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = "\n".join(f"{i % 7},{i % 5},{'ab'[i % 2]}" for i in range(40))
    (tmp_path / "table.csv").write_text(f"x,y,label\n{rows}\n")
    folder = run(small(dataset=f"csv:{tmp_path}/table.csv", num_clients=2, num_rounds=1)).output
    code, out, err = call(capsys, folder, seven(tmp_path))
    assert (code, out) == (2, "")
    assert "and not pictures; predict needs a run on images" in err


def test_a_run_on_a_folder_of_colour_images_predicts_its_own_classes(
    small: Small, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(1)
    for name, channel in (("red", 0), ("green", 1)):
        (tmp_path / "colours" / name).mkdir(parents=True)
        for number in range(20):
            pixels = rng.integers(0, 60, (8, 8, 3), dtype=np.uint8)
            pixels[:, :, channel] += 180
            Image.fromarray(pixels).save(tmp_path / "colours" / name / f"{number}.png")
    changes = {"dataset": f"folder:{tmp_path}/colours", "num_clients": 2, "local_steps": 0, "num_rounds": 5}
    folder = run(small(**changes, partition="iid")).output
    Image.new("RGB", (50, 30), (10, 200, 10)).save(tmp_path / "grass.png")
    code, out, err = call(capsys, folder, tmp_path / "grass.png", "--json")
    assert (code, err) == (0, "")
    (image,) = json.loads(out)["images"]
    assert image["class"] == "green"
    assert image["steps"] == ["50x30 colour", "padded to 50x50", "scaled to 8x8"]
    assert len(image["predictions"]) == 2  # there are no more classes


def test_no_picture_named_is_bad_usage(digits_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, digits_run)
    assert code == 2
    assert "Missing argument" in err
