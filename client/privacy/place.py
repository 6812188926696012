"""Where a client's privacy is accounted, and under which name its data's life runs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from flwr.app import Context

from client.privacy.budget import PrivateData
from client.privacy.ledger import PrivacyLedger
from client.signing_mod import client_id_of
from shared.errors import PrivacyRefused
from shared.reasons import Reason
from shared.run_order import RUN_ID

PrivateDataOf = Callable[[Context], PrivateData | None]
OWN_DATASET = "own-dataset"  # in a node's config: its own data, used whole in the place of a part of the run's
_DEFAULT_FOLDER = "privacy"
_WITH_PATH = ("folder:", "npz:", "csv:")


def simulated_private_data(folder: Path, run: str) -> PrivateDataOf:
    """Keep the ledgers of simulated clients in a folder of their run: one life a run, whichever worker plays whom."""

    def private_data_of(context: Context) -> PrivateData | None:
        config = context.run_config
        if config.get("dp") is not True:
            return None
        ledger = PrivacyLedger(folder, client_id_of(context))
        return PrivateData(ledger=ledger, dataset=dataset_name(str(config.get("dataset"))), run=run)

    return private_data_of


def private_data_from_node_config(context: Context) -> PrivateData | None:
    """Read from the node's config where its ledger lies and what its owner allows: for SuperNodes.

    ``privacy-dir`` names the folder, by default ``privacy`` beside the client's key. ``max-epsilon`` is the owner's own
    bound: with it nothing is trained without privacy. ``dataset-id`` names the data whatever the server calls it.
    Without it, own data has the node's name for it, never the run's: a server may change that to begin a new life.

    Raises:
        PrivacyRefused: No folder is named, or a server asks for what the owner does not allow.
    """
    node, run = context.node_config, context.run_config
    max_epsilon = _max_epsilon(node.get("max-epsilon", 0.0))
    if run.get("dp") is not True:
        if max_epsilon:
            raise PrivacyRefused(
                Reason.PRIVACY, "this client trains with privacy only (max-epsilon is set), and dp is off"
            )
        return None
    key_path, folder = node.get("key-path"), node.get("privacy-dir")
    if not folder and not key_path:
        raise PrivacyRefused(
            Reason.PRIVACY_LEDGER,
            'dp is on and this node has no folder for its privacy ledger: give it privacy-dir="/path" in --node-config',
        )
    place = Path(str(folder)).expanduser() if folder else Path(str(key_path)).expanduser().parent / _DEFAULT_FOLDER
    return PrivateData(
        ledger=PrivacyLedger(place, client_id_of(context)),
        dataset=str(node.get("dataset-id") or dataset_name(str(node.get(OWN_DATASET) or run.get("dataset")))),
        run=str(run.get(RUN_ID) or context.run_id),
        max_epsilon=max_epsilon,
    )


def dataset_name(dataset: str) -> str:
    """Name a data set for its whole life: one file, however a path to it is spelled, is one data set."""
    for prefix in _WITH_PATH:
        if dataset.startswith(prefix):
            return prefix + os.path.realpath(os.path.expanduser(dataset.removeprefix(prefix)))
    return dataset


def _max_epsilon(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise PrivacyRefused(
            Reason.PRIVACY, f"max-epsilon in the node's config must be a number from 0 up, got {value!r}; 0 is none"
        )
    return float(value)
