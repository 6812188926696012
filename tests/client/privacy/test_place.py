"""Which ledger a SuperNode's training is charged to, and what its owner's word is worth against a server's."""

from __future__ import annotations

from pathlib import Path

import pytest
from flwr.app import Context, RecordDict

from client.privacy.place import OWN_DATASET, private_data_from_node_config
from shared.errors import PrivacyRefused

RUN = {"dp": True, "dataset": "mnist-sample", "run-id": "r"}


def context_of(folder: Path, node: dict[str, object], **run: object) -> Context:
    place = {"partition-id": 0, "privacy-dir": str(folder)}
    return Context(1, 1, {**place, **node}, RecordDict(), {**RUN, **run})  # type: ignore[dict-item]


def dataset_charged(folder: Path, node: dict[str, object], **run: object) -> str:
    data = private_data_from_node_config(context_of(folder, node, **run))
    assert data is not None
    return data.dataset


def test_a_nodes_own_data_has_one_life_whatever_the_server_calls_its_own(tmp_path: Path) -> None:
    own = {OWN_DATASET: f"npz:{tmp_path / 'mine.npz'}"}
    names = {dataset_charged(tmp_path, own, dataset=name) for name in ("mnist-sample", "synthetic", "x")}
    assert names == {f"npz:{(tmp_path / 'mine.npz').resolve()}"}


def test_the_runs_data_is_charged_under_its_name_and_under_the_owners_where_there_is_one(tmp_path: Path) -> None:
    assert dataset_charged(tmp_path, {}) == "mnist-sample"
    assert dataset_charged(tmp_path, {"dataset-id": "ward-7"}) == "ward-7"
    assert dataset_charged(tmp_path, {"dataset-id": "ward-7", OWN_DATASET: "csv:/x"}) == "ward-7"


def test_an_owner_with_a_bound_trains_with_privacy_only(tmp_path: Path) -> None:
    with pytest.raises(PrivacyRefused, match="this client trains with privacy only"):
        private_data_from_node_config(context_of(tmp_path, {"max-epsilon": 2.0}, dp=False))
    assert private_data_from_node_config(context_of(tmp_path, {}, dp=False)) is None
