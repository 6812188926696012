"""A run's bundle: the ClientApp it names, and its settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click
from flwr.app import Context, RecordDict
from flwr.cli.install import install_from_fab
from flwr.clientapp import ClientApp
from flwr.clientapp.utils import get_load_client_app_fn
from flwr.common.config import get_fused_config_from_fab, parse_config_args
from flwr.supercore.fab import Fab
from flwr.supercore.run import Run

from shared.config import Scalar


def context_of(run: Run, fab: Fab, node_id: int, node_config: Mapping[str, Scalar]) -> Context:
    """Make the context of a node in a run, with an empty state."""
    return Context(
        run_id=run.run_id,
        node_id=node_id,
        node_config=dict(node_config),
        state=RecordDict(),
        run_config=get_fused_config_from_fab(fab.content, run),
        series_id=run.series_id,
    )


class AppNotLoaded(Exception):
    """A ClientApp cannot be imported, or is none."""


def load_from_fab(run: Run, fab: Fab) -> ClientApp:
    """Unpack a bundle into Flower's home folder and load the ClientApp that it names.

    Raises:
        AppNotLoaded: It cannot be loaded.
    """
    try:
        install_from_fab(fab.content, skip_prompt=True)
        load = get_load_client_app_fn(default_app_ref="", app_path=None, multi_app=True)
        return load(run.fab_id, run.fab_version, fab.hash_str)
    except Exception as error:  # the app's own code runs while it is imported
        raise AppNotLoaded(f"{type(error).__name__}: {error}") from error


def parse_node_config(arguments: Sequence[str]) -> dict[str, Scalar]:
    """Read the text of ``--node-config``: ``key=value ...``.

    Raises:
        ValueError: It is not of this form.
    """
    if not all("=" in argument for argument in arguments):
        raise ValueError("a node config is key=value pairs, as 'partition-id=0 num-partitions=2'")
    try:
        return dict(parse_config_args(list(arguments)))
    except click.ClickException as error:
        raise ValueError(error.message) from error
