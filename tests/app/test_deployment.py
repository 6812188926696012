"""A run that a Flower run config asks for, over a grid in memory: the real processes are in tests/e2e."""

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Context, Message, RecordDict
from safetensors.numpy import load_file

from app.deployment import run_deployed, server_keys_of, settings_of
from app.engine.memory_grid import MemoryClock, MemoryGrid
from app.server_app import app
from client.client_app import app as client_app
from monitor.sinks import read_events
from shared.config import RunConfig, Scalar
from shared.crypto.keys import SERVER_ID, KeyStore
from shared.errors import ConfigError, ConstellationError, KeyStoreError

NODES = [2**63 + 5, 2**63 + 9]  # of the size that a SuperLink draws


@pytest.fixture(scope="module")
def key_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    store = KeyStore(folder, key_bits=2048)
    for owner in (SERVER_ID, "client-0", "client-1"):
        store.load_or_create(owner)
    return folder


Settings = Callable[..., dict[str, Scalar]]


@pytest.fixture
def settings(tmp_path: Path, key_dir: Path) -> Settings:
    def make(**changes: object) -> dict[str, Scalar]:
        base = RunConfig(
            num_clients=2,
            min_clients=2,
            num_rounds=2,
            local_steps=4,
            model="linear",
            output=str(tmp_path / "runs"),
            key_dir=str(key_dir),
        )
        return replace(base, **changes).as_flat()  # type: ignore[arg-type]

    return make


def grid_of(settings: Mapping[str, Scalar], key_dir: Path, nodes: list[int] = NODES) -> MemoryGrid:
    """Answer as SuperNodes do that run the stock ClientApp, each with its own key."""

    def answer(message: Message) -> tuple[Message, float]:
        partition = NODES.index(message.metadata.dst_node_id)
        context = Context(
            run_id=1,
            node_id=message.metadata.dst_node_id,
            node_config={
                "partition-id": partition,
                "num-partitions": 2,
                "key-path": str(key_dir / f"client-{partition}.pem"),
            },
            state=RecordDict(),
            run_config=dict(settings),
        )
        return client_app(message, context), 0.0

    return MemoryGrid(nodes, answer, MemoryClock())


def test_a_run_trains_verifies_and_leaves_its_folder(settings: Settings, key_dir: Path) -> None:
    config = settings()
    result = run_deployed(grid_of(config, key_dir), config)
    assert (result.state, result.rounds_completed) == ("completed", 2)
    assert (result.updates_accepted, result.updates_rejected) == (4, 0)
    assert result.accuracy is not None
    assert result.accuracy > 0.3
    names = {path.name for path in result.output.iterdir()}
    assert names >= {
        "config.toml", "events.jsonl", "metrics.csv", "model.safetensors", "report.html", "report.json",
        "checkpoint.sqlite",
    }  # fmt: skip
    assert result.to_json()["engine"] == "flower"
    stored = load_file(result.output / "model.safetensors")
    assert all(np.array_equal(stored[name], array) for name, array in result.arrays.items())


def test_clients_have_their_nodes_names_until_a_valid_reply_tells_theirs(settings: Settings, key_dir: Path) -> None:
    config = settings()
    result = run_deployed(grid_of(config, key_dir), config)
    rows = list(read_events(result.output / "events.jsonl"))
    asked = [set(row["clients"]) for row in rows if row["type"] == "phase-started"]  # type: ignore[arg-type]
    assert asked[0] == {f"node-{node}" for node in NODES}
    assert asked[1:] == [{"client-0", "client-1"}] * 3
    told = {row["node-id"]: row["client"] for row in rows if row["type"] == "client-identified"}
    assert told == {str(NODES[0]): "client-0", str(NODES[1]): "client-1"}
    assert {client.client: client.asked for client in result.series.clients} == {"client-0": 2, "client-1": 2}


def test_a_run_waits_for_its_clients_and_says_so(
    settings: Settings, key_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = settings(num_rounds=1)
    grid = grid_of(config, key_dir, nodes=NODES[:1])

    class Comes(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage() == "waiting for clients 1/2":
                grid.nodes.append(NODES[1])

    flower = logging.getLogger("flwr")
    handler = Comes()
    flower.addHandler(handler)
    try:
        result = run_deployed(grid, config)
    finally:
        flower.removeHandler(handler)
    rows = list(read_events(result.output / "events.jsonl"))
    assert [row["reason"] for row in rows if row["type"] == "run-waiting"] == ["waiting for clients 1/2"]
    assert result.updates_accepted == 2


def test_a_client_that_is_not_enrolled_is_refused_and_the_run_goes_on(
    settings: Settings, key_dir: Path, tmp_path: Path
) -> None:
    """The same keys, but the server knows client-0 only."""
    enrolled = tmp_path / "enrolled"
    enrolled.mkdir(mode=0o700)
    for name in ("server.pem", "server.pub.pem", "client-0.pub.pem"):
        (enrolled / name).write_bytes((key_dir / name).read_bytes())
    (enrolled / "server.pem").chmod(0o600)
    config = settings(key_dir=str(enrolled))
    result = run_deployed(grid_of(config, key_dir), config)
    assert result.state == "completed"
    assert (result.updates_accepted, dict(result.rejections)) == (2, {"unknown-key": 2})


def test_without_signatures_values_are_still_checked(settings: Settings, tmp_path: Path) -> None:
    config = settings(signatures=False, key_dir="", num_rounds=1)

    def answer(message: Message) -> tuple[Message, float]:
        context = Context(
            run_id=1,
            node_id=message.metadata.dst_node_id,
            node_config={"partition-id": NODES.index(message.metadata.dst_node_id), "num-partitions": 2},
            state=RecordDict(),
            run_config=dict(config),
        )
        return client_app(message, context), 0.0

    result = run_deployed(MemoryGrid(NODES, answer, MemoryClock()), config)
    assert (result.updates_accepted, result.updates_rejected) == (2, 0)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"key-dir": ""}, "signatures are on and key-dir is empty; name the folder"),
        ({"attack": "nan:1"}, "attack is for simulations"),
        ({"num-rounds": 0}, "num-rounds must be at least 1"),
        ({"num-round": 3}, "unknown key 'num-round' in the run config; did you mean num-rounds?"),
        ({"strategy": "fedavrg"}, "did you mean fedavg"),
        ({"model": "cnnn"}, "cnn"),
    ],
)
def test_a_mistake_is_one_sentence_before_anything_is_written(
    settings: Settings, tmp_path: Path, changes: dict[str, Scalar], sentence: str
) -> None:
    with pytest.raises(ConstellationError) as caught:
        run_deployed(MemoryGrid(NODES, lambda _: None, MemoryClock()), {**settings(), **changes})
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "runs").exists()


def test_no_key_is_made_for_a_server_that_has_none(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "nothing"
    folder.mkdir(mode=0o700)
    with pytest.raises(KeyStoreError, match=r"server\.pem cannot be read"):
        server_keys_of(settings_of(settings(key_dir=str(folder))))
    assert list(folder.iterdir()) == []


def test_a_directory_without_clients_starts_no_run(settings: Settings, key_dir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "alone"
    KeyStore(folder, key_bits=2048).load_or_create(SERVER_ID)
    with pytest.raises(ConfigError, match="no client is enrolled in key-dir"):
        server_keys_of(settings_of(settings(key_dir=str(folder))))


def test_a_servers_encrypted_key_is_read_with_its_password(settings: Settings, key_dir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    KeyStore(folder, password=b"secret", key_bits=2048).load_or_create(SERVER_ID)
    (folder / "client-0.pub.pem").write_bytes((key_dir / "client-0.pub.pem").read_bytes())
    config = settings_of(settings(key_dir=str(folder)))
    assert server_keys_of(config, {"CONSTELLATION_KEY_PASSWORD": "secret"}) is not None
    with pytest.raises(KeyStoreError, match="give its password"):
        server_keys_of(config, {})


def test_the_server_app_says_its_mistake_before_flower_shows_where(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    context = Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config=settings(key_dir=""))
    with caplog.at_level(logging.ERROR, logger="flwr"), pytest.raises(ConfigError):
        app(MemoryGrid(NODES, lambda _: None, MemoryClock()), context)
    assert [record.getMessage()[:36] for record in caplog.records] == ["signatures are on and key-dir is emp"]


def test_a_run_that_fails_leaves_its_events_and_report(settings: Settings, tmp_path: Path, key_dir: Path) -> None:
    class Full(MemoryGrid):
        def push_messages(self, messages: Iterable[Message]) -> list[str]:
            return []

    with pytest.raises(ConstellationError, match="the SuperLink refused the train requests"):
        run_deployed(Full(NODES, lambda _: None, MemoryClock()), settings())
    (run_dir,) = (tmp_path / "runs").iterdir()
    last = list(read_events(run_dir / "events.jsonl"))[-1]
    assert (last["type"], last["state"]) == ("run-ended", "failed")
    assert (run_dir / "report.html").exists()


@pytest.mark.parametrize("document", ["README.md", "docs/stock-flower.md"])
def test_the_documents_name_settings_that_flwr_run_can_override(document: str) -> None:
    """``-c`` takes keys of [tool.flwr.app.config] only, which are those of ``RunConfig``."""
    text = (Path(__file__).resolve().parents[2] / document).read_text(encoding="utf-8")
    overrides = re.findall(r'flwr run \S+ here .*-c "(.*)"', text)
    assert overrides
    keys = {part.partition("=")[0] for override in overrides for part in override.split()}
    assert {"num-clients", "min-clients", "key-dir"} <= keys <= set(RunConfig().as_flat())
