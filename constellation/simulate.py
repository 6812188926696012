"""``constellation simulate APP``: anybody's Flower App on this machine, unchanged."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from constellation.flower_simulation import SimulationResult

_OVERRIDES_HELP = r"override \[tool.flwr.app.config]: 'key=value key=value', or one TOML file; as in flwr run"


def simulate(
    app: Annotated[Path, typer.Argument(help="folder of the Flower App: the one with its pyproject.toml")],
    num_supernodes: Annotated[int, typer.Option("--num-supernodes", help="clients")],
    run_config: Annotated[list[str] | None, typer.Option("--run-config", "-c", help=_OVERRIDES_HELP)] = None,
    workers: Annotated[int, typer.Option("--workers", help="processes that run clients; 0: one a core")] = 0,
    seed: Annotated[int | None, typer.Option("--seed", help="for whatever the app leaves to chance")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object and nothing else")] = False,
) -> None:
    """Run the app, and say in the end what passed."""
    from constellation import flower_simulation

    with _log_to_stderr(), contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        result = flower_simulation.simulate(app, num_supernodes, overrides=run_config or (), workers=workers, seed=seed)
    typer.echo(json.dumps(result.to_json()) if as_json else _sentence(result))


def _sentence(result: SimulationResult) -> str:
    tally = result.tally
    clients = f"{result.num_supernodes} clients on {result.workers} workers, seed {result.seed}"
    errors = f", {tally.errors} of {tally.replies} replies were errors" if tally.errors else ""
    return f"{result.app} finished in {result.seconds_total:.1f} s: {clients}, {tally.messages} messages{errors}"


@contextlib.contextmanager
def _log_to_stderr() -> Iterator[None]:
    """Show our warnings and leave all other logging to the app and to Flower."""
    logger = logging.getLogger("constellation")
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate
