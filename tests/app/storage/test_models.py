"""Models: files by the digest of their arrays, lineage, and files that were tampered with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load, save, save_file

from app.storage.objects import ObjectStore
from app.storage.store import Store
from app.storage.values import RunSource
from shared.errors import NotFound, StoreError
from shared.parameters import model_digest

ARRAYS = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros(3, dtype=np.float32)}
DIGEST = model_digest(ARRAYS).hex()


def close_round(store: Store, seq: int, number: int, digest: str) -> None:
    where = {"run": "r1", "server-round": number, "ts": 1e9 + seq}
    rows = [
        {"seq": seq, "type": "model-evaluated", "metrics": {"accuracy": number / 10, "loss": 1.0}, **where},
        {"seq": seq + 1, "type": "round-closed", "seconds": 1.0, "model-digest": digest, **where},
    ]
    store.ingest("r1", rows, RunSource())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_file(ARRAYS, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def test_a_model_is_recorded_when_its_round_closes_and_gets_its_file(store: Store, path: Path) -> None:
    close_round(store, 1, 1, "a" * 64)
    close_round(store, 3, 2, DIGEST)
    recorded = store.models("r1").items[0]
    assert (recorded.digest, recorded.parent, recorded.size_bytes, recorded.accuracy) == (DIGEST, "a" * 64, None, 0.2)
    with pytest.raises(NotFound, match="no file"):
        store.open_model(DIGEST)
    put = store.put_model("r1", 2, path)
    assert put.size_bytes == path.stat().st_size
    with store.open_model(DIGEST) as file:
        assert np.array_equal(load(file.read())["w"], ARRAYS["w"])
    assert [view.server_round for view in store.lineage(DIGEST)] == [2, 1]


def test_a_file_may_come_before_its_event(store: Store, path: Path) -> None:
    store.create_run("r1", {})
    store.put_model("r1", 1, path)
    close_round(store, 1, 1, DIGEST)
    assert store.models("r1").items[0].size_bytes == path.stat().st_size


def test_a_file_of_another_model_is_refused(store: Store, path: Path) -> None:
    close_round(store, 1, 1, "a" * 64)
    with pytest.raises(StoreError, match="round 1 ended with"):
        store.put_model("r1", 1, path)
    assert store.models("r1").items[0].size_bytes is None


def test_a_round_that_is_started_again_forgets_its_model(store: Store) -> None:
    close_round(store, 1, 1, "a" * 64)
    close_round(store, 3, 2, "b" * 64)
    row = {"seq": 5, "type": "round-started", "server-round": 2, "attempt": 2, "run": "r1", "ts": 1e9}
    store.ingest("r1", [row], RunSource())
    assert [view.server_round for view in store.models("r1").items] == [1]


def test_a_file_that_was_changed_is_not_handed_out(store: Store, path: Path, tmp_path: Path) -> None:
    close_round(store, 1, 1, DIGEST)
    store.put_model("r1", 1, path)
    (stored,) = (tmp_path / "objects").rglob("*.safetensors")
    assert stored.name == f"{DIGEST}.safetensors"
    stored.write_bytes(save({"w": ARRAYS["w"] + 1}))
    with pytest.raises(StoreError, match="changed or is damaged"):
        store.open_model(DIGEST)
    stored.unlink()
    with pytest.raises(NotFound, match="gone"):
        store.open_model(DIGEST)


@pytest.mark.parametrize("content", [b"", b"\x80\x04pickle", b"\xff" * 100, b"PK\x03\x04"])
def test_what_is_no_model_is_refused(store: Store, tmp_path: Path, content: bytes) -> None:
    store.create_run("r1", {})
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(StoreError, match="not a safetensors file"):
        store.put_model("r1", 1, path)
    assert store.models("r1").items == ()


def test_a_file_that_is_not_there_is_said(store: Store, tmp_path: Path) -> None:
    store.create_run("r1", {})
    with pytest.raises(StoreError, match="cannot be read"):
        store.put_model("r1", 1, tmp_path / "nothing")


@pytest.mark.parametrize("digest", ["../../etc/passwd", "a" * 63, "A" * 64, "a" * 64 + "/..", "", "\0", "\ud800"])
def test_only_digests_reach_the_disk(store: Store, tmp_path: Path, digest: str) -> None:
    with pytest.raises(NotFound):
        store.open_model(digest)
    with pytest.raises(NotFound):
        store.lineage(digest)
    with pytest.raises(NotFound, match="64 hexadecimal"):
        ObjectStore(str(tmp_path)).open(digest, "")


def test_models_can_be_kept_elsewhere_than_in_a_folder(path: Path) -> None:
    objects = ObjectStore("memory://models-of-a-test")
    stored = objects.put(path)
    assert objects.open(stored.digest, stored.file_digest).read() == path.read_bytes()
    with pytest.raises(StoreError, match="cannot be kept"):
        ObjectStore("nowhere://x")
