"""From a person's picture file to what a model was trained on: same size, same colours, light on dark or the reverse.

Each step says what it did, so that an odd answer can be understood.
"""

from __future__ import annotations

import os
import stat
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from shared.errors import UsageError

# 4 bytes a pixel: a file of a few kB that claims more would fill the memory (a "decompression bomb").
MAX_PIXELS = 50_000_000
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
_CONTRAST = 32  # of 255: a border and a drawing that differ less are a blank picture
_DIGIT_SHARE = 20 / 28  # MNIST's digits fill a box of 20 of the image's 28 pixels
_INK = 0.15  # of the darkest stroke: fainter is paper
_SHADES = " .:-=+*#%@"

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureForm:
    """What a model's inputs look like."""

    channels: int  # 1 is grey, 3 is RGB
    height: int  # pixels
    width: int
    is_light_on_dark: bool | None  # None where the backgrounds of the training images differ
    is_centred: bool = False  # as MNIST's digits: scaled to a box and put by their centre of mass
    has_alpha_dropped: bool = False  # as the folder of images it was trained on was read


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedPicture:
    """A picture as the model sees it."""

    path: Path
    pixels: Pixels  # (channels, height, width)
    steps: tuple[str, ...]  # what was done to it, in order


def background_of(images: Pixels) -> bool | None:
    """Tell whether training images (n, c, h, w) are light on dark (True), dark on light (False), or mixed (None)."""
    if images.shape[1] != 1:
        return None
    borders = np.array([np.median(_border(image[0])) for image in images])
    if (borders < 64).mean() > 0.95:
        return True
    return False if (borders > 191).mean() > 0.95 else None


def prepare_picture(path: Path, form: PictureForm, *, invert: bool | None = None) -> PreparedPicture:
    """Read a picture and bring it into the model's form.

    Args:
        path: A PNG, JPEG, BMP, GIF, WebP, TIFF or PPM file.
        form: What the model takes.
        invert: Exchange light and dark; None decides by the picture's border.

    Raises:
        UsageError: The file is not a picture, is damaged, or is too large.
    """
    image = _read(path)
    steps = [f"{image.width}x{image.height} {_MODE_NAMES.get(image.mode, image.mode)}"]
    is_exact = image.size == (form.width, form.height)
    flat = _flattened(image, form, steps)
    if form.channels == 1:
        flat = _with_right_polarity(flat, form, invert, steps)
        if form.is_centred and not is_exact:
            return PreparedPicture(path=path, pixels=_centred(flat, form, steps)[None], steps=tuple(steps))
    elif invert:
        steps.append("inverted")
        flat = 255 - flat
    pixels = flat if is_exact else _resized(flat, form, steps)
    shaped = pixels[None] if form.channels == 1 else pixels.transpose(2, 0, 1)  # (h, w, c) -> (c, h, w)
    return PreparedPicture(path=path, pixels=np.ascontiguousarray(shaped), steps=tuple(steps))


def draw_in_text(pixels: Pixels) -> list[str]:
    """Draw an image (c, h, w) in characters, two rows of pixels a line: about as wide as it is high on a terminal."""
    grey = pixels.mean(axis=0)
    rows = grey[: len(grey) // 2 * 2].reshape(-1, 2, grey.shape[1]).mean(axis=1)
    numbers = np.rint(rows / 255 * (len(_SHADES) - 1)).astype(int)
    return ["".join(_SHADES[number] for number in row).rstrip() for row in numbers]


_MODE_NAMES = {
    "1": "black and white", "L": "grey", "LA": "grey with transparency", "P": "palette", "RGB": "colour",
    "RGBA": "colour with transparency", "CMYK": "CMYK", "I;16": "16-bit grey", "I": "32-bit grey",
}  # fmt: skip


def _read(path: Path) -> Image.Image:
    """Decode a file whole.

    Raises:
        UsageError: It is not a picture this project reads.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise UsageError(f"image {path} is not a file; name a PNG or JPEG file")
        with warnings.catch_warnings(), path.open("rb") as file:
            warnings.simplefilter("ignore")  # Pillow's about odd metadata and large pictures: both are judged here
            image = Image.open(file, formats=_FORMATS)
            if image.width * image.height > MAX_PIXELS:
                raise UsageError(
                    f"image {path} has {image.width}x{image.height} pixels, more than {MAX_PIXELS:,}; make it smaller"
                )
            if image.mode == "F":  # nothing says which number is black and which is white
                raise UsageError(f"image {path} has floating-point pixels; save it as 8-bit PNG")
            image.load()
            return ImageOps.exif_transpose(image)
    except UsageError:
        raise
    except Image.DecompressionBombError as error:
        raise UsageError(f"image {path} has more than {MAX_PIXELS:,} pixels; make it smaller") from error
    except UnidentifiedImageError as error:
        raise UsageError(f"image {path} is not a picture; name a PNG or JPEG file") from error
    except OSError as error:
        reason = error.strerror or "its data is damaged or cut off"
        raise UsageError(f"image {path} cannot be read: {reason}; name a whole PNG or JPEG file") from error
    except Exception as error:  # hostile bytes: Pillow's decoders raise ValueError, SyntaxError, struct.error and more
        raise UsageError(f"image {path} is damaged; name a whole PNG or JPEG file") from error


def _flattened(image: Image.Image, form: PictureForm, steps: list[str]) -> Pixels:
    """Return (h, w) grey or (h, w, 3) colours."""
    if image.mode.startswith("I;16") or image.mode == "I":
        steps.append("16 bits a pixel made 8")  # Pillow's own conversion would cut off all above 255
        values = np.asarray(image, dtype=np.int64).clip(0, 65_535) >> 8
        image = Image.fromarray(values.astype(np.uint8))
    has_alpha = "A" in image.getbands() or "transparency" in image.info
    if has_alpha and not form.has_alpha_dropped:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
        steps.append("transparency laid over white")
    mode = "L" if form.channels == 1 else "RGB"
    if image.mode != mode:
        name = "grey" if mode == "L" else "colour"
        if not (has_alpha or _MODE_NAMES.get(image.mode) == name):
            steps.append(f"made {name}")
        image = image.convert(mode)
    return np.asarray(image, dtype=np.uint8)


def _with_right_polarity(grey: Pixels, form: PictureForm, invert: bool | None, steps: list[str]) -> Pixels:
    """Exchange light and dark where that was asked for, or where the border says that the picture is the wrong way."""
    if invert is None and form.is_light_on_dark is not None:
        background = float(np.median(_border(grey)))
        is_wrong = background > 127.5 if form.is_light_on_dark else background < 127.5
        if is_wrong:
            steps.append("inverted: dark on light" if form.is_light_on_dark else "inverted: light on dark")
        return 255 - grey if is_wrong else grey
    if invert:
        steps.append("inverted as asked")
        return 255 - grey
    return grey


def _centred(grey: Pixels, form: PictureForm, steps: list[str]) -> Pixels:
    """Prepare a light drawing on dark ground as MNIST was: cut out, scaled to a box, put by its centre of mass.

    LeCun, Cortes and Burges, "The MNIST database of handwritten digits": digits keep their proportions in a box of
    20x20 pixels, whose centre of mass is the centre of the 28x28 image.
    """
    ink = grey.astype(np.float32) - float(np.median(_border(grey)))
    if ink.max() < _CONTRAST:
        steps.append("nothing is drawn on it")
        return _resized(grey, form, steps)
    ink = np.clip(ink / ink.max(), 0, 1)
    ink[ink < _INK] = 0
    rows, columns = np.nonzero(ink)
    box = ink[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    scale = _DIGIT_SHARE * min(form.height, form.width) / max(box.shape)
    size = (max(1, round(box.shape[1] * scale)), max(1, round(box.shape[0] * scale)))
    drawn = Image.fromarray(np.rint(box * 255).astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
    digit = np.asarray(drawn, dtype=np.float32)
    digit *= 255 / max(1.0, float(digit.max()))  # scaling thins out fine strokes; MNIST's reach white
    steps.append(f"drawing cut out and centred as MNIST's digits are, {form.width}x{form.height}")
    return _placed(np.rint(digit).astype(np.uint8), form)


def _placed(digit: Pixels, form: PictureForm) -> Pixels:
    mass = digit.astype(np.float64)
    canvas = np.zeros((form.height, form.width), dtype=np.uint8)
    corner = []
    for axis, extent in enumerate((form.height, form.width)):
        weights = mass.sum(axis=1 - axis)
        centre = float((weights * np.arange(len(weights))).sum() / weights.sum()) + 0.5
        corner.append(int(np.clip(round(extent / 2 - centre), 0, extent - len(weights))))
    top, left = corner
    canvas[top : top + digit.shape[0], left : left + digit.shape[1]] = digit
    return canvas


def _resized(flat: Pixels, form: PictureForm, steps: list[str]) -> Pixels:
    """Scale to the model's size; what is missing to its proportions is filled with the border's colour."""
    height, width = flat.shape[:2]
    wanted = form.width / form.height
    full_width, full_height = max(width, round(height * wanted)), max(height, round(width / wanted))
    if (full_width, full_height) != (width, height):
        ground = np.median(_border(flat), axis=0).astype(np.uint8)
        padded = np.empty((full_height, full_width, *flat.shape[2:]), dtype=np.uint8)
        padded[:] = ground
        top, left = (full_height - height) // 2, (full_width - width) // 2
        padded[top : top + height, left : left + width] = flat
        steps.append(f"padded to {full_width}x{full_height}")
        flat = padded
    steps.append(f"scaled to {form.width}x{form.height}")
    scaled = Image.fromarray(flat).resize((form.width, form.height), Image.Resampling.BILINEAR)
    return np.asarray(scaled, dtype=np.uint8)


def _border(flat: Pixels) -> Pixels:
    """Return the outermost pixels: (k,) grey or (k, 3) colours."""
    return np.concatenate([flat[0], flat[-1], flat[:, 0], flat[:, -1]])
