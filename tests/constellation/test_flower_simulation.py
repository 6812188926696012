"""Apps that know nothing of this project run unchanged, and come to what they come to on Flower's own runtime."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from constellation.flower_simulation import SimulationResult, simulate
from shared.errors import ConfigError, RunFailed

APPS = Path(__file__).parent / "apps"
ORACLE = Path(__file__).parent / "flower_oracle.py"
PLAIN = """
[project]
name = "plain"
version = "1.0"
[tool.flwr.app]
publisher = "somebody"
[tool.flwr.app.components]
serverapp = "server:app"
clientapp = "client:app"
[tool.flwr.app.config]
output = ""
"""
# Every client draws from each global generator; the server draws too and stores all.
DRAWING_CLIENT = """
import random
import numpy as np
import torch
from flwr.app import Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
SEED
app = ClientApp()

@app.query()
def draw(message, context):
    drawn = [random.random(), float(np.random.rand()), float(torch.rand(1)), float(torch.get_num_threads())]
    return Message(RecordDict({"drawn": MetricRecord({"numbers": drawn})}), reply_to=message)
"""
DRAWING_SERVER = """
import random
import numpy as np
from flwr.app import Message, RecordDict
from flwr.serverapp import ServerApp
app = ServerApp()

@app.main()
def main(grid, context):
    drawn = []
    for _ in range(2):
        nodes = random.sample(list(grid.get_node_ids()), 5)
        replies = grid.send_and_receive([Message(RecordDict(), node, "query") for node in nodes])
        drawn.append([reply.content["drawn"]["numbers"] for reply in replies])
    np.savez(context.run_config["output"], drawn=np.array(drawn), server=np.random.rand(3))
"""
# The workflows between the legacy API and the Message API, with many exchanges a round and keys in context.state.
SECURE_SERVER = """
from flwr.server import LegacyContext, ServerApp, ServerConfig
from flwr.server.strategy import FedAvg
from flwr.server.workflow import DefaultWorkflow, SecAggPlusWorkflow
app = ServerApp()

@app.main()
def main(driver, context):
    config = {"on_fit_config_fn": lambda server_round: {"local-steps": 1}, "min_available_clients": 4}
    legacy = LegacyContext(context=context, config=ServerConfig(num_rounds=2), strategy=FedAvg(**config))
    DefaultWorkflow(fit_workflow=SecAggPlusWorkflow(num_shares=3, reconstruction_threshold=2))(driver, legacy)
    losses = [loss for _, loss in legacy.history.losses_distributed]
    assert losses[1] < losses[0], losses
"""


@pytest.fixture(autouse=True)
def _own_generators() -> Iterator[None]:
    """An app seeds the generators of the whole process, as its author means it to."""
    numpy_state, torch_state = np.random.get_state(), torch.get_rng_state()
    yield
    np.random.set_state(numpy_state)
    torch.set_rng_state(torch_state)


def copy_of(name: str, tmp_path: Path) -> Path:
    """Put an app somewhere else, where nothing of this project is in reach."""
    return Path(shutil.copytree(APPS / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__")))


@pytest.fixture
def write_app(tmp_path: Path) -> Callable[..., Path]:
    def write(**modules: str) -> Path:
        folder = tmp_path / "plain"
        folder.mkdir(exist_ok=True)
        (folder / "pyproject.toml").write_text(PLAIN)
        for name, text in modules.items():
            (folder / f"{name}.py").write_text(text)
        return folder

    return write


def values_of(
    folder: Path, count: int, *overrides: str, workers: int = 2, seed: int | None = 3
) -> tuple[SimulationResult, dict[str, np.ndarray]]:
    output = folder.parent / f"{folder.name}-{workers}.npz"
    result = simulate(folder, count, overrides=[f"output='{output}'", *overrides], workers=workers, seed=seed)
    with np.load(output) as values:
        return result, dict(values)


def flowers_values(folder: Path, count: int) -> dict[str, np.ndarray]:
    output = folder.parent / f"{folder.name}-flower.npz"
    command = [sys.executable, str(ORACLE), str(folder), str(count), f"output='{output}'"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, env={**os.environ})
    assert done.returncode == 0, done.stderr
    with np.load(output) as values:
        return dict(values)


@pytest.mark.e2e
@pytest.mark.parametrize(
    "name", ["quickstart-pytorch", "legacy-numpy", "stateful-mods", "federated-analytics", "flaky-clients"]
)
def test_results_equal_those_of_flowers_own_runtime(name: str, tmp_path: Path) -> None:
    folder = copy_of(name, tmp_path)
    expected = flowers_values(folder, 4)
    _, values = values_of(folder, 4)
    assert values.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_allclose(values[key], value, rtol=0, atol=1e-6, err_msg=key)


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("quickstart-pytorch", ["num-server-rounds=2 fraction-train=0.5"]),
        ("legacy-numpy", ["fraction-fit=0.6"]),
        ("stateful-mods", []),
        ("flaky-clients", []),
    ],
)
def test_results_are_bit_equal_whatever_the_number_of_workers(name: str, overrides: list[str], tmp_path: Path) -> None:
    folder = copy_of(name, tmp_path)
    result, alone = values_of(folder, 5, *overrides, workers=1)
    assert result.workers == 1
    for workers in (2, 3):
        _, values = values_of(folder, 5, *overrides, workers=workers)
        for key, value in alone.items():
            np.testing.assert_array_equal(values[key], value, err_msg=key)


def test_clients_that_fail_are_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    result, values = values_of(copy_of("flaky-clients", tmp_path), 4)
    # Partition 1 fails. Round 1: (1*1 + 3*3 + 4*4) / 8 = 3.25. Round 2 adds (1*2 + 3*4 + 4*5) / 8 = 4.25.
    np.testing.assert_array_equal(values["w"], np.full(4, 7.5))
    assert (result.tally.messages, result.tally.replies, result.tally.errors) == (16, 16, 2)
    assert "train on client 1: ValueError: partition 1 has no data" in result.tally.first_error
    (record,) = [record for record in caplog.records if record.name.startswith("constellation")]
    assert "flaky/client_app.py" in record.getMessage()  # the traceback of a bug, once


def test_states_lifespans_and_mods_live_on_across_rounds_and_workers(tmp_path: Path) -> None:
    result, values = values_of(copy_of("stateful-mods", tmp_path), 3, "num-server-rounds=2", workers=3)
    # Each client gets 2 messages a round; the counts that its mod adds to the k-th train reply are 2k - 1, in and out.
    assert values["counts"] == 3 * 11 * (1 + 3)
    assert result.state["done"]["rounds"] == 2
    assert result.state["lives"]["events"] == 2


def test_the_servers_errors_name_the_line_and_log_the_traceback(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(RunFailed, match=r"flaky-clients failed: LookupError: no such thing \(at .*server_app.py:14\)"):
        simulate(copy_of("flaky-clients", tmp_path), 3, overrides=["fail='server'"])
    assert 'raise LookupError("no such thing")' in caplog.text


def test_a_run_in_which_no_client_ever_answered_failed(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match=r"all 6 replies were errors.*client \d: ValueError: partition \d has no data"):
        simulate(copy_of("flaky-clients", tmp_path), 3, overrides=["fail='all' num-server-rounds=1"])


def test_what_an_app_leaves_to_chance_comes_from_the_seed(write_app: Callable[..., Path]) -> None:
    folder = write_app(server=DRAWING_SERVER, client=DRAWING_CLIENT.replace("SEED", ""))
    _, first = values_of(folder, 8, workers=1, seed=5)
    _, second = values_of(folder, 8, workers=3, seed=5)
    np.testing.assert_array_equal(first["drawn"], second["drawn"])
    np.testing.assert_array_equal(first["server"], second["server"])
    numbers = first["drawn"][..., :3].ravel()
    assert len(set(numbers)) == len(numbers)  # no two clients and no two messages draw the same
    assert (first["drawn"][..., 3] == 1).all()  # torch threads
    _, other = values_of(folder, 8, workers=1, seed=6)
    assert not set(other["drawn"][..., :3].ravel()) & set(numbers)


def test_an_apps_own_seeds_stand_at_each_message(write_app: Callable[..., Path]) -> None:
    client = DRAWING_CLIENT.replace("SEED", "torch.manual_seed(42)")
    _, values = values_of(write_app(server=DRAWING_SERVER, client=client), 6)
    expected = float(torch.rand(1, generator=torch.Generator().manual_seed(42)))
    assert set(values["drawn"][..., 2].ravel()) == {expected}  # as in Flower, where each message has a new process
    assert len(set(values["drawn"][..., 0].ravel())) == 10


def test_an_app_that_starts_threads_on_import_gets_new_interpreters(write_app: Callable[..., Path]) -> None:
    starting = "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()"
    client = DRAWING_CLIENT.replace("SEED", starting).replace("import torch", "import torch, app")
    folder = write_app(server=DRAWING_SERVER, client=client, app="# called as a package of ours\n")
    _, values = values_of(folder, 5, workers=1, seed=5)
    write_app(client=DRAWING_CLIENT.replace("SEED", ""))
    _, forked = values_of(folder, 5, workers=2, seed=5)
    np.testing.assert_array_equal(values["drawn"], forked["drawn"])


def test_flowers_own_secure_aggregation_workflow_runs(tmp_path: Path) -> None:
    folder = copy_of("legacy-numpy", tmp_path)
    (folder / "server.py").write_text(SECURE_SERVER)
    client = (
        (folder / "client.py").read_text().replace("client_fn=client_fn", "client_fn=client_fn, mods=[secaggplus_mod]")
    )
    (folder / "client.py").write_text(f"from flwr.client.mod import secaggplus_mod\n{client}")
    result = simulate(folder, 4, workers=2)
    assert result.tally.errors == 0
    assert result.tally.messages == 1 + 2 * 4 * 5  # first parameters; four stages and an evaluation in each round


def test_an_app_that_waits_for_more_nodes_is_told_how_many_there_are(
    write_app: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    waiting = "for _ in range(20):\n        list(grid.get_nodes())\n    np.savez"
    server = DRAWING_SERVER.replace("np.savez", waiting)
    values_of(write_app(server=server, client=DRAWING_CLIENT.replace("SEED", "")), 6)
    assert caplog.text.count("more than the 6 of this run") == 1


@pytest.mark.parametrize(("settings", "sentence"), [((0, 1), "num-supernodes"), ((2, -1), "workers")])
def test_impossible_numbers_are_a_sentence(settings: tuple[int, int], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=sentence):
        simulate(copy_of("flaky-clients", tmp_path), settings[0], workers=settings[1])
