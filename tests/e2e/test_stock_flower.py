"""The repository as a Flower App on stock Flower: real SuperLink, SuperNodes, ServerApp and ClientApps on loopback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from constellation.training import run
from monitor.sinks import Row, read_events
from shared.config import RunConfig
from shared.crypto.keys import SERVER_ID, KeyStore
from tests.e2e.stock_federation import StockFederation, stock_federation

pytestmark = pytest.mark.e2e

PARTITIONS = 3  # of the data; the third one's client has no key that the server knows
SETTINGS = {"model": "linear", "num-clients": PARTITIONS, "num-rounds": 1, "local-steps": 8}


@pytest.fixture
def federation(tmp_path: Path) -> Iterator[StockFederation]:
    folder = tmp_path / "flower"
    folder.mkdir()
    with stock_federation(folder) as started:
        yield started
    assert started.processes() == [], "no process outlives the test"


def make_keys(folder: Path, *owners: str) -> Path:
    for owner in owners:
        KeyStore(folder, key_bits=2048).load_or_create(owner)
    return folder


def config_of(partition: int, key_dir: Path) -> dict[str, str | int]:
    key_path = str(key_dir / f"client-{partition}.pem")
    return {"partition-id": partition, "num-partitions": PARTITIONS, "key-path": key_path}


def only_run(output: Path) -> tuple[Path, list[Row]]:
    (run_dir,) = output.iterdir()
    return run_dir, list(read_events(run_dir / "events.jsonl"))


def of_type(rows: list[Row], kind: str) -> list[Row]:
    return [row for row in rows if row["type"] == kind]


def test_a_stock_and_a_resident_supernode_train_what_a_simulation_does_and_a_stranger_changes_nothing(
    federation: StockFederation, tmp_path: Path
) -> None:
    keys = make_keys(tmp_path / "keys", SERVER_ID, "client-0", "client-1")
    federation.start_supernode(config_of(0, keys))
    resident = federation.start_resident(config_of(1, keys))

    two = federation.run({**SETTINGS, "min-clients": 2, "key-dir": str(keys), "output": str(tmp_path / "two")})
    assert two.status == "finished:completed", two.log
    run_dir, rows = only_run(tmp_path / "two")
    accepted = of_type(rows, "update-accepted")
    assert sorted((row["phase"], row["client"]) for row in accepted) == [
        ("evaluate", "client-0"), ("evaluate", "client-1"), ("train", "client-0"), ("train", "client-1"),
    ]  # fmt: skip
    assert of_type(rows, "update-rejected") == []
    assert rows[-1]["state"] == "completed"
    assert json.loads((run_dir / "report.json").read_text())["engine"] == "flower"
    assert (run_dir / "report.html").exists()
    assert "2 replies accepted, 0 refused, 0 late" in two.log
    assert_trained_as_simulated(run_dir, tmp_path)

    # A third SuperNode connects, whose key nobody enrolled: it has the server's public key, and a key of its own.
    strange_keys = make_keys(tmp_path / "strange", "client-2")
    (strange_keys / "server.pub.pem").write_bytes((keys / "server.pub.pem").read_bytes())
    federation.start_resident(config_of(2, strange_keys))
    three = federation.run(
        {
            **SETTINGS,
            "min-clients": 3,
            "fraction-evaluate": 0.0,
            "key-dir": str(keys),
            "output": str(tmp_path / "three"),
        }
    )
    assert three.status == "finished:completed", three.log
    attacked_dir, rows = only_run(tmp_path / "three")
    assert [row["reason"] for row in of_type(rows, "update-rejected")] == ["unknown-key"]
    assert {row["client"] for row in of_type(rows, "update-accepted")} == {"client-0", "client-1"}
    assert "the signing key is not enrolled" in three.log
    assert (attacked_dir / "model.safetensors").read_bytes() == (run_dir / "model.safetensors").read_bytes()
    resident.terminate()
    assert resident.wait(timeout=30) == 0, "it leaves the federation and ends"


def assert_trained_as_simulated(run_dir: Path, tmp_path: Path) -> None:
    """Compare with a simulation of the same three clients, one of which never answers."""
    config = RunConfig(
        model="linear",
        num_clients=PARTITIONS,
        num_rounds=1,
        local_steps=8,
        attack=("silent:1",),
        key_dir=str(tmp_path / "simulated-keys"),
        output=str(tmp_path / "simulated"),
    )
    simulated = run(config)
    trained = load_file(run_dir / "model.safetensors")
    assert trained.keys() == simulated.arrays.keys()
    for name, array in simulated.arrays.items():
        np.testing.assert_allclose(trained[name], array, rtol=0, atol=1e-6)


def test_a_federation_without_keys_does_not_start_and_says_why(federation: StockFederation, tmp_path: Path) -> None:
    failed = federation.run({**SETTINGS, "output": str(tmp_path / "runs")})
    assert failed.status == "finished:failed"
    assert "signatures are on and key-dir is empty; name the folder" in failed.log
    assert not (tmp_path / "runs").exists()
    assert len(federation.processes()) >= 2, "the SuperExec that Flower detached is among those that are swept"
