"""Settings from a page: refused in one sentence with its key, or shown as a file and a command that mean the same."""

import shlex
import tomllib

import pytest
import typer

from app.control.config_check import check_config, explain, key_of_error
from constellation.argument_help import command_of
from constellation.options import resolve, with_run_options
from shared.config import RunConfig, from_mapping
from shared.errors import ConfigError, DatasetError, RunFailed, UsageError


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ({"num-rounds": 0}, "num-rounds"),
        ({"num-rounds": "many"}, "num-rounds"),
        ({"num-rounds": True}, "num-rounds"),
        ({"num-rouns": 3}, "num-rouns"),
        ({"<script>": 3}, "<script>"),
        ({"dataset": "mnist_sampel"}, "dataset"),
        ({"dataset": "folder:"}, "dataset"),
        ({"model": "resnet999"}, "model"),
        ({"strategy": "fedsomething"}, "strategy"),
        ({"aggregation": "nothing"}, "aggregation"),
        ({"engine": "ray"}, "engine"),
        ({"attack": "forge:99"}, "attack"),
        ({"min-clients": 9}, "min-clients"),
        ({"alpha": float("nan")}, "alpha"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_its_key(config: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_config(config)
    assert key_of_error(caught.value) == key


def test_own_data_models_and_strategies_are_let_through() -> None:
    for dataset in ("folder:/data", "npz:x.npz", "csv:x.csv", "my.module:load"):
        assert check_config({"dataset": dataset}).dataset == dataset
    assert check_config({"model": "m:build", "strategy": "m:S", "aggregation": "m:rule"}).model == "m:build"


@pytest.mark.parametrize(
    ("error", "key"), [(DatasetError("the file is gone"), "dataset"), (UsageError("no"), ""), (ConfigError(""), "")]
)
def test_an_error_about_no_key_has_none(error: UsageError, key: str) -> None:
    assert key_of_error(error) == key
    assert isinstance(RunFailed("x"), Exception)


CONFIGS: list[dict[str, object]] = [
    {},
    {"num-rounds": 7, "dataset": "folder:/my data/it's", "signatures": False, "alpha": 0.1},
    {"attack": "forge:1,scale:1", "num-clients": 5, "optimizer": "adam", "learning-rate": 1e-3},
]


@pytest.mark.parametrize("config", CONFIGS)
def test_the_file_and_the_command_are_the_same_run(config: dict[str, object]) -> None:
    shown = explain(config)
    wanted = from_mapping(config, where="test")
    assert shown.config == wanted.as_flat()
    assert from_mapping(tomllib.loads(shown.toml), where="toml") == wanted
    program, command, *arguments = shlex.split(shown.command)
    assert (program, command) == ("constellation", "demo")
    assert parsed(arguments) == wanted


def parsed(arguments: list[str]) -> RunConfig:
    """Read a command line as the command does."""
    found: list[RunConfig] = []
    app = typer.Typer()

    def command(settings: dict[str, object]) -> None:
        found.append(resolve(settings, None, {}))

    app.command()(with_run_options(command))
    command_of(app)(args=arguments, standalone_mode=False)
    return found[0]


def test_unusual_settings_are_warned_of() -> None:
    assert explain({"batch-size": 8}).warnings == ("batch-size 8 is outside the usual range 16-128",)
