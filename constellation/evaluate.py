"""``constellation evaluate RUN``: a finished run's model on test data, class by class."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from constellation.run_arguments import AsJson, DataDir, Device, Output, Run, run_dir_of
from monitor.words import clean, count, number, percent

if TYPE_CHECKING:
    from constellation.scoring import Scores
    from constellation.trained_model import TrainedModel


def evaluate(
    run: Run,
    dataset: Annotated[
        str | None, typer.Option("--dataset", help="another data set of the same shape (default: the run's own)")
    ] = None,
    data_dir: DataDir = None,
    device: Device = None,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Evaluate a run's model: accuracy, loss, and a table of its classes."""
    run_dir = run_dir_of(run, output)
    from dataclasses import replace

    from constellation.scoring import score
    from constellation.trained_model import load_data, load_trained

    changes = {"data-dir": data_dir, "device": device}
    model = load_trained(run_dir, {key: value for key, value in changes.items() if value is not None})
    other = load_data(replace(model.config, dataset=dataset)) if dataset is not None else None
    scores = score(model, other, dataset or "")
    if as_json:
        typer.echo(json.dumps(scores_to_json(model, scores)))
    else:
        show_scores(model, scores, Console(highlight=False))


def scores_to_json(model: TrainedModel, scores: Scores) -> dict[str, object]:
    """Return one JSON object; a loss that is no number is null."""
    return {
        "run_id": model.run_id,
        "model": model.config.model,
        "dataset": scores.dataset,
        "num_examples": scores.num_examples,
        "accuracy": scores.accuracy,
        "loss": scores.loss if math.isfinite(scores.loss) else None,
        "remarks": list(scores.remarks),
        "classes": [
            {
                "class": one.name,
                "num_examples": one.num_examples,
                "recall": one.recall,
                "precision": one.precision,
                "mistaken_for": one.mistaken_for or None,
                "num_mistaken": one.num_mistaken,
            }
            for one in scores.classes
        ],
        "confusion": scores.confusion.tolist(),
        "output": str(model.run_dir),
    }


def show_scores(model: TrainedModel, scores: Scores, console: Console) -> None:
    """Print the figures and the table."""
    config = model.config
    console.print(
        f"run {model.run_id}: {clean(config.model)} trained on {clean(config.dataset)} with {clean(config.strategy)}",
        markup=False,
    )
    console.print(
        f"{count(scores.num_examples)} test examples of {clean(scores.dataset)}: "
        f"accuracy {percent(scores.accuracy, 2)}, loss {number(scores.loss, 4)}",
        markup=False,
    )
    for remark in scores.remarks:
        console.print(f"note: {remark}", markup=False)
    console.print()
    console.print(_table(scores))


def _table(scores: Scores) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("class", overflow="ellipsis", max_width=24, no_wrap=True)
    for name in ("examples", "recognised", "right when said"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("most often taken for", overflow="ellipsis", no_wrap=True)
    for one in scores.classes:
        mistake = f"{clean(one.mistaken_for, 24)} ({count(one.num_mistaken)})" if one.mistaken_for else ""
        table.add_row(
            Text(clean(one.name, 24)),
            count(one.num_examples),
            percent(one.recall),
            percent(one.precision),
            Text(mistake),
        )
    return table
