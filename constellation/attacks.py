"""``constellation attacks``: the laboratory on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from shared.config import RunConfig
from shared.errors import UsageError

if TYPE_CHECKING:
    from constellation.attack_lab import Cell


def attacks(  # noqa: PLR0917 - typer's way to say options
    attack_names: Annotated[str, typer.Option("--attacks", help="as none,sign-flip; default: all")] = "",
    rule_names: Annotated[str, typer.Option("--rules", help="as mean,median; default: all")] = "",
    num_clients: Annotated[int, typer.Option("--num-clients", help="clients, all in each round")] = 10,
    hostile: Annotated[int, typer.Option("--hostile", help="how many of them are")] = 3,
    num_rounds: Annotated[int, typer.Option("--num-rounds", help="rounds of each run")] = 10,
    alpha: Annotated[float, typer.Option("--alpha", help="Dirichlet concentration: smaller is more skewed")] = 1.0,
    dataset: Annotated[str, typer.Option("--dataset", help="a data set with a central test set")] = "mnist-sample",
    model: Annotated[str, typer.Option("--model", help="cnn, linear, mlp or pkg.mod:attr")] = "cnn",
    seeds: Annotated[str, typer.Option("--seeds", help="as 1,2,3")] = "1,2,3",
    output: Annotated[Path | None, typer.Option("--output", help="folder for attacks.json and attacks.md")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object and nothing else")] = False,
) -> None:
    """Run every attack against every rule, and print and save the table."""
    from constellation.attack_lab import LAB_ATTACKS, LAB_RULES, LabSettings, experiment
    from constellation.demo import parse_seeds

    config = RunConfig(
        dataset=dataset, model=model, num_clients=num_clients, num_rounds=num_rounds, alpha=alpha, no_dashboard=True
    )
    settings = LabSettings(
        config=config,
        hostile=hostile,
        attacks=_names(attack_names) or LAB_ATTACKS,
        rules=_names(rule_names) or LAB_RULES,
        seeds=tuple(parse_seeds(seeds)),
    )
    if output is not None:
        _check_writable(output)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("runs", total=None)
        cells = list(experiment(settings, lambda done, total: progress.update(task, completed=done, total=total)))
    figures: dict[str, object] = {
        "settings": {**config.as_flat(), "hostile": hostile, "seeds": list(settings.seeds)},
        "cells": [cell.to_json() for cell in cells],
    }
    if output is not None:
        _save(output, figures, cells)
    if as_json:
        typer.echo(json.dumps(figures))
    else:
        _show(cells, num_clients, hostile)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _check_writable(output: Path) -> None:
    """Refuse a folder that cannot be written before hours are spent."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        probe = output / ".probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(f"output folder {output} cannot be written: {error.strerror}; name another") from error


def _save(output: Path, figures: dict[str, object], cells: list[Cell]) -> None:
    from constellation.attack_lab import markdown

    (output / "attacks.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    (output / "attacks.md").write_text(markdown(cells), encoding="utf-8")


def _show(cells: list[Cell], num_clients: int, hostile: int) -> None:
    from constellation.attack_lab import table

    rows = table(cells)
    shown = Table(
        title=f"accuracy in %, {hostile} of {num_clients} clients hostile; backdoor: accuracy/success",
        title_justify="left",
        box=None,
        header_style="bold",
    )
    shown.add_column("rule", no_wrap=True)
    names = list(dict.fromkeys(cell.attack for cell in cells))
    for name in names:
        shown.add_column(name, justify="right")
    for rule, row in rows.items():
        shown.add_row(rule, *(row.get(name, "") for name in names))
    Console(highlight=False).print(shown)
