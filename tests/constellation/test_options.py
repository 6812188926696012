"""Options are made from the settings; files, environment and options are laid over each other in that order."""

import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import typer

from constellation.options import resolve, resolve_resumed, with_run_options
from shared.config import RunConfig, key_of
from shared.errors import ConfigError


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    path = tmp_path / "settings.toml"
    path.write_text('num-rounds = 2\nnum-clients = 20\nseed = 2\ndataset = "synthetic"\n')
    return path


def test_nothing_given_is_the_defaults() -> None:
    assert resolve({}, None, {}) == RunConfig()


def test_options_win_over_the_environment_which_wins_over_the_file(toml: Path) -> None:
    environment = {"CONSTELLATION_NUM_ROUNDS": "3", "CONSTELLATION_NUM_CLIENTS": "30"}
    config = resolve({"num-rounds": 4}, toml, environment)
    assert (config.num_rounds, config.num_clients, config.seed) == (4, 30, 2)
    assert config.dataset == "synthetic"
    assert config.alpha == RunConfig().alpha


def test_an_option_equal_to_the_default_still_wins(toml: Path) -> None:
    assert resolve({"num-rounds": RunConfig().num_rounds}, toml, {}).num_rounds == RunConfig().num_rounds


def test_variables_of_others_are_left_alone() -> None:
    assert resolve({}, None, {"CONSTELLATION_HOME": "/x", "NUM_ROUNDS": "9"}) == RunConfig()


def test_settings_of_different_places_are_judged_together(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text("min-clients = 8\n")
    assert resolve({"num-clients": 10}, path, {}).min_clients == 8


def test_a_value_out_of_range_names_where_it_stands(toml: Path) -> None:
    toml.write_text("alpha = 0\n")
    with pytest.raises(ConfigError, match=re.escape(f"alpha must be above 0, got 0.0 (in {toml})")):
        resolve({}, toml, {})
    with pytest.raises(ConfigError, match=re.escape("num-rounds must be at least 1, got 0 (in the environment)")):
        resolve({}, None, {"CONSTELLATION_NUM_ROUNDS": "0"})


def test_a_bad_variable_is_named() -> None:
    with pytest.raises(ConfigError, match=r"environment variable CONSTELLATION_NUM_ROUNDS: .*whole number, got 'many'"):
        resolve({}, None, {"CONSTELLATION_NUM_ROUNDS": "many"})


def test_a_key_that_does_not_exist_names_the_file_and_the_nearest_key(toml: Path) -> None:
    toml.write_text("num-round = 3\n")
    with pytest.raises(ConfigError, match=re.escape(f"unknown key 'num-round' in {toml}; did you mean num-rounds?")):
        resolve({}, toml, {})


def test_a_resumed_run_may_only_get_longer() -> None:
    assert resolve_resumed(RunConfig(seed=7), {"num-rounds": 9}) == RunConfig(seed=7, num_rounds=9)
    with pytest.raises(ConfigError, match=r"^seed cannot change when a run goes on; with --resume only .*num-rounds"):
        resolve_resumed(RunConfig(), {"seed": 3})


@pytest.mark.parametrize("columns", [80, 120])
def test_the_help_fits_the_screen_and_names_every_option(columns: int) -> None:
    environment = {**os.environ, "COLUMNS": str(columns), "NO_COLOR": "1", "TERM": "dumb"}
    done = subprocess.run(
        [sys.executable, "run_demo.py", "--help"], capture_output=True, text=True, env=environment, check=True
    )
    assert max(map(len, done.stdout.splitlines())) <= columns
    assert "Usage: run_demo.py [OPTIONS]" in done.stdout
    for field in fields(RunConfig):
        assert re.search(rf"--{key_of(field.name)}\b", done.stdout), field.name
    assert "--config" in done.stdout
    assert "default: mnist-sample" in " ".join(done.stdout.replace("│", " ").split())


def test_a_list_may_be_given_by_repeating_the_option_or_with_commas(tmp_path: Path) -> None:
    found: list[object] = []
    app = typer.Typer()

    @app.command()
    @with_run_options
    def command(settings: dict[str, object]) -> None:
        found.append(resolve(settings, None, {}).attack)

    for arguments in (["--attack", "forge:1", "--attack", "nan:1"], ["--attack", "forge:1,nan:1"]):
        app(arguments, standalone_mode=False)
    assert found == [("forge:1", "nan:1")] * 2
