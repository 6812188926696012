"""An app's pyproject.toml and the -c options are read as flwr run reads them, and mistakes end in one sentence."""

from pathlib import Path

import pytest

from constellation.flower_app import read_flower_app
from shared.errors import ConfigError

GOOD = """
[project]
name = "an-app"
version = "1.0"
[tool.flwr.app]
publisher = "somebody"
[tool.flwr.app.components]
serverapp = "pkg.server:app"
clientapp = "pkg.client:factory.app"
[tool.flwr.app.config]
rounds = 3
lr = 0.1
name = "x"
[tool.flwr.app.config.model]
depth = 2
[tool.flwr.app.config.model.head]
bias = true
[tool.flwr.federations]
default = "elsewhere"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text(GOOD)
    return tmp_path


def test_components_and_flattened_settings_are_read(folder: Path) -> None:
    app = read_flower_app(folder)
    assert (app.name, app.server_app, app.client_app) == ("an-app", "pkg.server:app", "pkg.client:factory.app")
    assert app.run_config == {"rounds": 3, "lr": 0.1, "name": "x", "model.depth": 2, "model.head.bias": True}


@pytest.mark.parametrize(
    ("overrides", "changed"),
    [
        (["rounds=5 lr=1e-3"], {"rounds": 5, "lr": 0.001}),
        (["rounds=5", "lr=2"], {"rounds": 5, "lr": 2}),
        (["name='two words' model.depth=4"], {"name": "two words", "model.depth": 4}),
        (["model.depth=4", "model.head.bias=false"], {"model.depth": 4, "model.head.bias": False}),
        ([""], {}),
        ([], {}),
    ],
)
def test_overrides_win(folder: Path, overrides: list[str], changed: dict[str, object]) -> None:
    assert read_flower_app(folder, overrides).run_config == {**read_flower_app(folder).run_config, **changed}


def test_overrides_may_stand_in_a_file(folder: Path) -> None:
    file = folder / "more.toml"
    file.write_text("rounds = 9\n[model]\ndepth = 1\n")
    config = read_flower_app(folder, [str(file)]).run_config
    assert (config["rounds"], config["model.depth"]) == (9, 1)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["epochs=1"], "no setting 'epochs'.*it has lr, model.depth"),
        (["name=plain"], "invalid format"),
        (["rounds"], "not of the form"),
        (["rounds=[1]"], "needs to be of type"),
        (["absent.toml"], "absent.toml"),
        (["absent.toml", "rounds=1"], "cannot be combined"),
    ],
)
def test_a_wrong_override_is_a_sentence(folder: Path, overrides: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        read_flower_app(folder, overrides)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("[tool.flwr.app", "[tool.other.app", r"no \[tool.flwr.app\] section"),
        ('serverapp = "pkg.server:app"', "", "names no serverapp"),
        ('clientapp = "pkg.client:factory.app"', "", "names no clientapp"),
        ("pkg.server:app", "pkg.server", "'module:attribute'"),
        ('"pkg.server:app"', "7", "'module:attribute'"),
        ("pkg.server:app", "pkg/server.py:app", "'module:attribute'"),
        ("rounds = 3", "rounds = [3]", "needs to be of type"),
        ("rounds = 3", "rounds = ", "cannot be read"),
    ],
)
def test_a_wrong_pyproject_is_a_sentence(folder: Path, old: str, new: str, sentence: str) -> None:
    (folder / "pyproject.toml").write_text(GOOD.replace(old, new))
    with pytest.raises(ConfigError, match=sentence):
        read_flower_app(folder)


def test_a_folder_that_is_no_app_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        read_flower_app(tmp_path / "absent")
    with pytest.raises(ConfigError, match=r"has no pyproject\.toml"):
        read_flower_app(tmp_path)
    (tmp_path / "pyproject.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="is not a folder"):
        read_flower_app(tmp_path / "pyproject.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_flower_app(tmp_path)


def test_what_flwr_run_would_refuse_is_a_warning(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "pyproject.toml").write_text(GOOD.replace('publisher = "somebody"', ""))
    assert read_flower_app(folder).name == "an-app"
    assert 'Property "publisher" missing' in caplog.text
