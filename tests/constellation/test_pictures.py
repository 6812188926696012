"""A picture file becomes what a model was trained on, and says how; hostile files are refused."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from constellation.pictures import PictureForm, background_of, draw_in_text, prepare_picture
from shared.errors import UsageError

GREY = PictureForm(channels=1, height=4, width=4, is_light_on_dark=True)
COLOUR = PictureForm(channels=3, height=4, width=4, is_light_on_dark=None)
DIGIT = PictureForm(channels=1, height=28, width=28, is_light_on_dark=True, is_centred=True)


def saved(tmp_path: Path, pixels: object, mode: str | None = None, name: str = "p.png") -> Path:
    image = Image.fromarray(np.asarray(pixels, np.uint8))
    (image.convert(mode) if mode else image).save(tmp_path / name)
    return tmp_path / name


def test_a_picture_that_fits_is_left_alone(tmp_path: Path) -> None:
    pixels = np.arange(16, dtype=np.uint8).reshape(4, 4)
    found = prepare_picture(saved(tmp_path, pixels), GREY)
    assert found.pixels.tolist() == [pixels.tolist()]
    assert found.steps == ("4x4 grey",)


def test_colours_become_channels_first(tmp_path: Path) -> None:
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    found = prepare_picture(saved(tmp_path, pixels), COLOUR)
    assert found.pixels.tolist() == pixels.transpose(2, 0, 1).tolist()
    assert found.steps == ("4x4 colour",)


def test_colours_become_grey_by_their_brightness(tmp_path: Path) -> None:
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[1, 1] = (255, 0, 0)
    found = prepare_picture(saved(tmp_path, pixels), GREY)
    assert found.pixels[0, 1, 1] == 76  # ITU-R 601-2: 0.299 x 255
    assert found.steps == ("4x4 colour", "made grey")


def test_grey_becomes_colour(tmp_path: Path) -> None:
    found = prepare_picture(saved(tmp_path, np.full((4, 4), 9)), COLOUR)
    assert found.pixels.tolist() == np.full((3, 4, 4), 9).tolist()
    assert "made colour" in found.steps


def test_dark_on_light_is_inverted_for_a_model_of_light_on_dark(tmp_path: Path) -> None:
    paper = np.full((4, 4), 250, np.uint8)
    paper[1, 1] = 5
    found = prepare_picture(saved(tmp_path, paper), GREY)
    assert found.pixels.tolist() == [(255 - paper).tolist()]
    assert "inverted: dark on light" in found.steps
    assert prepare_picture(saved(tmp_path, paper), GREY, invert=False).pixels.tolist() == [paper.tolist()]


def test_light_on_dark_is_inverted_for_a_model_of_dark_on_light(tmp_path: Path) -> None:
    form = PictureForm(channels=1, height=4, width=4, is_light_on_dark=False)
    found = prepare_picture(saved(tmp_path, np.full((4, 4), 10)), form)
    assert found.pixels.max() == 245
    assert "inverted: light on dark" in found.steps


def test_where_training_images_are_mixed_only_asking_inverts(tmp_path: Path) -> None:
    form = PictureForm(channels=1, height=4, width=4, is_light_on_dark=None)
    path = saved(tmp_path, np.full((4, 4), 250))
    assert prepare_picture(path, form).pixels.max() == 250
    found = prepare_picture(path, form, invert=True)
    assert (found.pixels.max(), found.steps[-1]) == (5, "inverted as asked")


def test_a_colour_picture_is_inverted_when_asked(tmp_path: Path) -> None:
    assert prepare_picture(saved(tmp_path, np.full((4, 4, 3), 250)), COLOUR, invert=True).pixels.max() == 5


def test_a_picture_of_other_proportions_is_padded_with_its_border(tmp_path: Path) -> None:
    found = prepare_picture(saved(tmp_path, np.full((4, 8), 30)), GREY)
    assert found.pixels.shape == (1, 4, 4)
    assert set(found.pixels.flat) == {30}
    assert found.steps[1:] == ("padded to 8x8", "scaled to 4x4")


def test_a_picture_is_scaled_down_smoothly(tmp_path: Path) -> None:
    checks = np.kron(np.indices((8, 8)).sum(axis=0) % 2, np.ones((2, 2))) * 200  # squares of 2 pixels
    found = prepare_picture(saved(tmp_path, checks), GREY)
    assert found.pixels.min() > 60
    assert found.pixels.max() < 140


def test_transparency_lies_over_white_unless_training_dropped_it(tmp_path: Path) -> None:
    pixels = np.zeros((4, 4, 4), np.uint8)  # black, all transparent
    path = saved(tmp_path, pixels)
    over_white = PictureForm(channels=1, height=4, width=4, is_light_on_dark=None)
    found = prepare_picture(path, over_white)
    assert found.pixels.min() == 255
    assert "transparency laid over white" in found.steps
    dropped = PictureForm(channels=1, height=4, width=4, is_light_on_dark=None, has_alpha_dropped=True)
    assert prepare_picture(path, dropped).pixels.max() == 0


def test_sixteen_bits_become_eight(tmp_path: Path) -> None:
    values = np.full((4, 4), 0x1234, np.uint16)
    Image.fromarray(values).save(tmp_path / "p.png")
    found = prepare_picture(tmp_path / "p.png", GREY)
    assert set(found.pixels.flat) == {0x12}
    assert "16 bits a pixel made 8" in found.steps


def test_a_phones_picture_is_turned_upright(tmp_path: Path) -> None:
    pixels = np.zeros((4, 4), np.uint8)
    pixels[0, :] = 100
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn clockwise to show
    Image.fromarray(pixels).save(tmp_path / "p.png", exif=exif)
    assert prepare_picture(tmp_path / "p.png", GREY).pixels[0, :, 3].tolist() == [100, 100, 100, 100]


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "gif", "webp", "tiff", "pgm"])
def test_each_usual_format_is_read(tmp_path: Path, suffix: str) -> None:
    found = prepare_picture(saved(tmp_path, np.full((4, 4), 40), name=f"p.{suffix}"), GREY)
    assert abs(int(found.pixels.astype(int).mean()) - 40) <= 2


# ---- centred as MNIST's digits ----


@given(
    top=st.integers(5, 250), left=st.integers(5, 150), height=st.integers(20, 100), width=st.integers(20, 100),
    ink=st.integers(0, 120), paper=st.integers(180, 255),
)  # fmt: skip
def test_a_drawing_anywhere_lands_in_the_middle(
    tmp_path_factory: pytest.TempPathFactory, top: int, left: int, height: int, width: int, ink: int, paper: int
) -> None:
    page = np.full((400, 300), paper, np.uint8)
    page[top : top + height, left : left + width] = ink
    path = tmp_path_factory.getbasetemp() / "drawing.png"
    Image.fromarray(page).save(path)
    found = prepare_picture(path, DIGIT).pixels[0]
    rows, columns = np.nonzero(found > 127)
    tall, wide = int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1
    assert max(tall, wide) in (19, 20)  # MNIST's box
    assert abs(tall / wide - height / width) <= 0.2 * max(1, height / width)
    assert found.max() == 255
    assert found[0].max() == found[-1].max() == found[:, 0].max() == found[:, -1].max() == 0
    assert abs(rows.mean() - 13.5) <= 1
    assert abs(columns.mean() - 13.5) <= 1


def test_a_blank_picture_says_so(tmp_path: Path) -> None:
    found = prepare_picture(saved(tmp_path, np.full((60, 60), 240)), DIGIT)
    assert "nothing is drawn on it" in found.steps
    assert found.pixels.shape == (1, 28, 28)


def test_a_picture_of_the_models_size_is_not_moved(tmp_path: Path) -> None:
    corner = np.zeros((28, 28), np.uint8)
    corner[:4, :4] = 200
    corner[0, 5:] = 0
    assert prepare_picture(saved(tmp_path, corner), DIGIT).pixels[0].tolist() == corner.tolist()


# ---- hostile files ----


def test_what_is_no_picture_is_one_sentence(tmp_path: Path) -> None:
    for name, content in (("t.png", b"hello"), ("e.png", b""), ("s.svg", b"<svg/>"), ("p.pdf", b"%PDF-1.4\n")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UsageError, match=f"image {tmp_path}/{name} is not a picture; name a PNG or JPEG file"):
            prepare_picture(tmp_path / name, GREY)


@pytest.mark.parametrize("path", ["/no/such/picture.png", "/dev/zero", "/"])
def test_what_is_no_file_is_one_sentence(path: str) -> None:
    with pytest.raises(UsageError, match=f"image {path} "):
        prepare_picture(Path(path), GREY)


@pytest.mark.parametrize("side", [8_000, 100_000])
def test_a_picture_that_claims_a_huge_size_is_not_decoded(tmp_path: Path, side: int) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000)))
    (tmp_path / "bomb.png").write_bytes(bomb + chunk(b"IEND", b""))
    with pytest.raises(UsageError, match=r"bomb\.png .*make it smaller"):
        prepare_picture(tmp_path / "bomb.png", GREY)


@given(st.data())
def test_a_damaged_picture_is_read_or_refused_in_one_sentence(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged"
    suffix = data.draw(st.sampled_from(["png", "jpeg", "gif", "bmp", "tiff", "webp"]))
    Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(path, format=suffix)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        shape, sentence = prepare_picture(path, GREY).pixels.shape, str(path)
    except UsageError as error:
        shape, sentence = (1, 4, 4), str(error)
    assert shape == (1, 4, 4)
    assert str(path) in sentence


def test_floating_point_pixels_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "f.tiff")
    with pytest.raises(UsageError, match=r"f\.tiff has floating-point pixels"):
        prepare_picture(tmp_path / "f.tiff", GREY)


# ---- backgrounds and drawing ----


def test_the_background_of_training_images_is_found_by_their_borders() -> None:
    dark = np.zeros((40, 1, 6, 6), np.uint8)
    dark[:, :, 2:4, 2:4] = 255
    mixed = np.concatenate([dark[:20], 255 - dark[:20]])
    assert background_of(dark) is True
    assert background_of(255 - dark) is False
    assert background_of(mixed) is None
    assert background_of(np.repeat(dark, 3, axis=1)) is None


def test_an_image_is_drawn_in_characters() -> None:
    pixels = np.array([[[0, 255, 0], [0, 255, 0], [255, 255, 255], [255, 255, 255], [9, 9, 9]]], np.uint8)
    assert draw_in_text(pixels) == [" @", "@@@"]
