"""A real SuperLink with two SuperNodes comes to what the local grid comes to: states, mods, lifespans and seeds."""

import shutil
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from constellation.flower_simulation import simulate
from tests.constellation.flower_deployment import deployment, run

APPS = Path(__file__).parent / "apps"
LIMIT_S = 240
SEEDING_CLIENT = """
import numpy as np
from flwr.app import Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
np.random.seed(42)
app = ClientApp()

@app.query()
def draw(message, context):
    return Message(RecordDict({"drawn": MetricRecord({"number": float(np.random.rand())})}), reply_to=message)
"""
SEEDING_SERVER = """
import numpy as np
from flwr.app import Message, RecordDict
from flwr.serverapp import ServerApp
app = ServerApp()

@app.main()
def main(grid, context):
    nodes = [node for node in grid.get_node_ids() for _ in range(2)]
    replies = grid.send_and_receive([Message(RecordDict(), node, "query") for node in nodes])
    np.savez(context.run_config["output"], drawn=[reply.content["drawn"]["number"] for reply in replies])
"""


def seeding_app(folder: Path) -> Path:
    """Make an app whose client seeds numpy while it is imported."""
    folder.mkdir()
    text = (APPS / "stateful-mods" / "pyproject.toml").read_text()
    text = text.replace("app.server:server_app", "serving:app").replace("app.client:client_app", "drawing:app")
    (folder / "pyproject.toml").write_text(text.replace("stateful-mods", "seeding"))
    (folder / "serving.py").write_text(SEEDING_SERVER)
    (folder / "drawing.py").write_text(SEEDING_CLIENT)
    return folder


def wait_for(path: Path, log: Path) -> dict[str, np.ndarray]:
    deadline = time.monotonic() + LIMIT_S
    while not path.exists():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.5)
    for _ in range(20):
        try:
            with np.load(path) as values:
                return dict(values)
        except (ValueError, OSError, EOFError, zipfile.BadZipFile):  # still being written
            time.sleep(0.5)
    raise AssertionError(f"{path} is not complete")


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_apps_come_to_the_same_on_a_real_superlink(tmp_path: Path) -> None:
    stateful = Path(shutil.copytree(APPS / "stateful-mods", tmp_path / "stateful-mods"))
    for folder in (stateful, seeding_app(tmp_path / "seeding")):
        settings = "num-server-rounds=2 output='{}'"
        local, real = tmp_path / f"{folder.name}-local.npz", tmp_path / f"{folder.name}-real.npz"
        simulate(folder, 2, overrides=[settings.format(local)])
        home = tmp_path / f"{folder.name}-flower"
        with deployment(home, 2) as environment:
            run(folder, environment, settings.format(real))
            expected = wait_for(real, home / "0.log")
        with np.load(local) as values:
            assert set(values) == set(expected)
            for key in values:
                np.testing.assert_allclose(values[key], expected[key], rtol=0, atol=1e-6, err_msg=key)
