"""One folder of keys for all runs of a session: making RSA keys is the slowest part of a small run."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from shared.config import RunConfig


@pytest.fixture(scope="session")
def key_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys")


@pytest.fixture
def small(tmp_path: Path, key_dir: Path) -> Callable[..., RunConfig]:
    """Make the settings of a run of seconds: six clients, a few steps a round."""

    def make(**changes: object) -> RunConfig:
        base = RunConfig(
            num_clients=6,
            num_rounds=3,
            local_steps=4,
            output=str(tmp_path / "runs"),
            key_dir=str(key_dir),
            model="linear",
        )
        return replace(base, **changes)  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory: pytest.TempPathFactory, key_dir: Path) -> Path:
    """Train one model that knows its digits, for the commands that use it: seconds, once a session."""
    from constellation.training import run

    output = str(tmp_path_factory.mktemp("digits"))
    config = RunConfig(num_clients=2, num_rounds=3, partition="iid", output=output, key_dir=str(key_dir))
    return run(config).output
