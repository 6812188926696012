"""Where a node's ledger lies, and what its owner allows whatever a server asks for."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from flwr.app import Context, RecordDict

from client.privacy.place import dataset_name, private_data_from_node_config, simulated_private_data
from shared.errors import PrivacyRefused
from shared.reasons import Reason
from shared.run_order import RUN_ID


def context(node: dict[str, object], run: dict[str, object]) -> Context:
    return Context(
        run_id=77,
        node_id=5,
        node_config={"client-id": "ward-7", **node},  # type: ignore[dict-item]
        state=RecordDict(),
        run_config={"dataset": "mnist-sample", **run},  # type: ignore[dict-item]
    )


def test_a_ledger_lies_beside_the_key_unless_a_folder_is_named(tmp_path: Path) -> None:
    beside = private_data_from_node_config(context({"key-path": str(tmp_path / "ward-7.pem")}, {"dp": True}))
    assert beside is not None
    assert beside.ledger.folder == tmp_path / "privacy" / "ward-7"
    assert (beside.dataset, beside.run, beside.max_epsilon) == ("mnist-sample", "77", 0.0)
    named = private_data_from_node_config(
        context({"privacy-dir": str(tmp_path / "ledgers"), "max-epsilon": 3, "dataset-id": "wards"}, {"dp": True})
    )
    assert named is not None
    assert named.ledger.folder == tmp_path / "ledgers" / "ward-7"
    assert (named.dataset, named.max_epsilon) == ("wards", 3.0)


def test_a_run_that_goes_on_after_a_restart_is_the_same_run() -> None:
    node = {"privacy-dir": "/nowhere"}
    data = private_data_from_node_config(context(node, {"dp": True, RUN_ID: "20260101-000000-abc"}))
    assert data is not None
    assert data.run == "20260101-000000-abc"


def test_without_privacy_there_is_no_ledger_and_an_owner_may_insist_on_it(tmp_path: Path) -> None:
    assert private_data_from_node_config(context({}, {"dp": False})) is None
    assert private_data_from_node_config(context({}, {})) is None
    with pytest.raises(PrivacyRefused, match="trains with privacy only") as refusal:
        private_data_from_node_config(context({"max-epsilon": 3.0}, {"dp": False}))
    assert refusal.value.reason == Reason.PRIVACY


def test_a_node_without_a_place_for_its_ledger_trains_for_nobody() -> None:
    with pytest.raises(PrivacyRefused, match='give it privacy-dir="/path"') as refusal:
        private_data_from_node_config(context({}, {"dp": True}))
    assert refusal.value.reason == Reason.PRIVACY_LEDGER


@pytest.mark.parametrize("bound", [-1.0, math.nan, math.inf, "3", True])
def test_a_bound_that_is_no_number_is_no_bound_to_ignore(bound: object) -> None:
    with pytest.raises(PrivacyRefused, match="max-epsilon in the node's config must be a number"):
        private_data_from_node_config(context({"max-epsilon": bound, "privacy-dir": "/nowhere"}, {"dp": True}))


def test_one_file_is_one_data_set_however_its_path_is_spelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    monkeypatch.chdir(tmp_path)
    name = f"csv:{tmp_path}/real/a.csv"
    spelled = (
        f"csv:{tmp_path}/link/a.csv",
        f"csv:{tmp_path}/real/../link/./a.csv",
        "csv:real/a.csv",
        "csv:link//a.csv",
    )
    assert {dataset_name(text) for text in spelled} == {name}
    assert dataset_name("mnist") == "mnist"
    assert dataset_name("my.module:load") == "my.module:load"


def test_simulated_clients_have_their_ledgers_in_the_runs_folder(tmp_path: Path) -> None:
    place = simulated_private_data(tmp_path / "privacy", "run-1")
    data = place(context({"client-id": "client-3"}, {"dp": True}))
    assert data is not None
    assert (data.ledger.folder, data.run) == (tmp_path / "privacy" / "client-3", "run-1")
    assert place(context({}, {"dp": False})) is None
