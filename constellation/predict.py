"""``constellation predict RUN IMAGE``: what a finished run's model sees in a picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from constellation.run_arguments import AsJson, DataDir, Device, Output, Run, run_dir_of
from monitor.words import clean, percent
from shared.errors import UsageError

if TYPE_CHECKING:
    from constellation.pictures import PictureForm, PreparedPicture
    from constellation.trained_model import TrainedModel

_TOP = 3
_SAMPLE = 500  # training images that show how backgrounds look
_MNIST_LIKE = ("mnist-sample", "mnist")
_MAX_TEXT_WIDTH = 64  # pixels of an image that is drawn in characters


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """A picture and the classes that it most likely shows, the likeliest first, with their probabilities."""

    picture: PreparedPicture
    top: tuple[tuple[str, float], ...]


def predict(
    run: Run,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="PNG or JPEG files")],
    *,
    invert: Annotated[
        bool | None,
        typer.Option("--invert/--no-invert", help="exchange light and dark; default: decided by the picture's border"),
    ] = None,
    centre: Annotated[
        bool,
        typer.Option(
            "--center/--no-center", help="cut the digit out and centre it as MNIST's are (for models trained on those)"
        ),
    ] = True,
    picture: Annotated[
        bool, typer.Option("--picture/--no-picture", help="show in characters what the model sees")
    ] = True,
    data_dir: DataDir = None,
    device: Device = None,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Say what is in a picture: the three likeliest classes of a run's model."""
    run_dir = run_dir_of(run, output)
    from constellation.pictures import prepare_picture
    from constellation.trained_model import load_trained

    changes = {"data-dir": data_dir, "device": device}
    model = load_trained(run_dir, {key: value for key, value in changes.items() if value is not None})
    form = form_of(model, is_centred=centre)
    pictures = [prepare_picture(path, form, invert=invert) for path in images]
    predictions = classify(model, pictures)
    if as_json:
        typer.echo(json.dumps(predictions_to_json(model, predictions)))
    else:
        show_predictions(model, predictions, Console(highlight=False), has_picture=picture)


def form_of(model: TrainedModel, *, is_centred: bool) -> PictureForm:
    """Say what the model's inputs look like.

    Raises:
        UsageError: They are not images, or it is not known how an image becomes one.
    """
    from constellation.pictures import PictureForm, background_of
    from shared.datasets.dataset import Dataset

    data, shape = model.data, model.data.input_shape
    if not isinstance(data, Dataset) or data.normalization is None or len(shape) != 3 or shape[0] not in (1, 3):
        raise UsageError(
            f"run {model.run_id} was trained on {model.config.dataset!r}, whose inputs are numbers of shape "
            f"{'x'.join(map(str, shape))} and not pictures; predict needs a run on images, as from mnist-sample or "
            "folder:PATH"
        )
    return PictureForm(
        channels=shape[0],
        height=shape[1],
        width=shape[2],
        is_light_on_dark=background_of(data.train_inputs[:_SAMPLE].numpy()),
        is_centred=is_centred and model.config.dataset in _MNIST_LIKE,
        has_alpha_dropped=model.config.dataset.startswith("folder:"),
    )


def classify(model: TrainedModel, pictures: Sequence[PreparedPicture]) -> list[Prediction]:
    """Return the likeliest classes of each picture.

    Raises:
        UsageError: The model answers with something that is no number.
    """
    import numpy as np
    import torch

    from shared.evaluation import device_of

    normalization = model.data.normalization
    assert normalization is not None  # form_of has refused such data
    images = np.stack([picture.pixels for picture in pictures])
    with torch.inference_mode():
        inputs = torch.from_numpy(normalization.apply(images)).to(device_of(model.module))
        shares = torch.softmax(model.module(inputs).double(), dim=1).cpu()
    if not bool(torch.isfinite(shares).all()):
        raise UsageError(
            f"the model of run {model.run_id} answers with NaN: its training diverged; "
            "train again with a lower --learning-rate"
        )
    names = model.data.class_names
    best = torch.topk(shares, min(_TOP, len(names)), dim=1)
    return [
        Prediction(
            picture=picture,
            top=tuple((names[int(index)], float(share)) for share, index in zip(row, indices, strict=True)),
        )
        for picture, row, indices in zip(pictures, best.values, best.indices, strict=True)
    ]


def predictions_to_json(model: TrainedModel, predictions: Sequence[Prediction]) -> dict[str, object]:
    """Return one JSON object."""
    return {
        "run_id": model.run_id,
        "model": model.config.model,
        "dataset": model.config.dataset,
        "images": [
            {
                "image": str(one.picture.path),
                "class": one.top[0][0],
                "predictions": [{"class": name, "probability": share} for name, share in one.top],
                "steps": list(one.picture.steps),
            }
            for one in predictions
        ],
    }


def show_predictions(
    model: TrainedModel, predictions: Sequence[Prediction], console: Console, *, has_picture: bool
) -> None:
    """Print each picture as the model sees it and what it says."""
    from constellation.pictures import draw_in_text

    config = model.config
    lines = [f"run {model.run_id}: {clean(config.model)} trained on {clean(config.dataset)}"]
    for one in predictions:
        lines += ["", f"{clean(one.picture.path)} ({', '.join(one.picture.steps)})"]
        if has_picture and one.picture.pixels.shape[2] <= _MAX_TEXT_WIDTH:
            lines += [f"  |{line:<{one.picture.pixels.shape[2]}}|" for line in draw_in_text(one.picture.pixels)]
        lines += [f"  {percent(share):>6}  {clean(name, 40)}" for name, share in one.top]
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)
