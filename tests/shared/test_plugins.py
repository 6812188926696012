from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.errors import PluginError
from shared.plugins import is_plugin, load_plugin

Write = Callable[[str, str], None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a module into the current folder; afterwards it was never imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.setattr(sys, "modules", dict(sys.modules))

    def write(name: str, source: str) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")

    return write


@pytest.mark.parametrize("name", ["mine:load", "pkg.mod:attr", "a.b.c:D.e", "_x:y2"])
def test_module_colon_attribute_is_a_plugin(name: str) -> None:
    assert is_plugin(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ":",
        "mnist-sample",
        "cnn",
        "mine",
        "mine:",
        ":load",
        "mine:load:again",
        "my-module:load",
        "folder:/data/images",
        "folder:images",
        "npz:mine.npz",
        "csv:table.csv",
        "C:\\data",
        "../mine:load",
        "mine.py:load()",
        "a..b:c",
        "mine:__import__('os')",
    ],
)
def test_other_names_are_none(name: str) -> None:
    assert not is_plugin(name)


def test_a_file_in_the_current_folder_is_found(write: Write) -> None:
    write("own_plugin_a.py", "def build():\n    return 41\n")
    built = load_plugin("own_plugin_a:build", what="model")
    assert callable(built)
    assert built() == 41


def test_an_attribute_of_a_class_in_a_package_is_found(write: Write) -> None:
    write("own_package_b/__init__.py", "")
    write("own_package_b/models.py", "class Zoo:\n    size = 7\n")
    assert load_plugin("own_package_b.models:Zoo.size", what="model") == 7


def test_an_installed_module_comes_before_a_file_of_the_same_name(write: Write) -> None:
    write("json.py", "dumps = 'mine'\n")
    assert callable(load_plugin("json:dumps", what="model"))


@pytest.mark.parametrize("name", ["mine", "my-module:load", "folder:images"])
def test_a_name_of_another_form_is_refused(name: str) -> None:
    with pytest.raises(PluginError, match=r"^dataset .* is not of the form 'pkg\.mod:attr'$"):
        load_plugin(name, what="dataset")


def test_a_missing_module_is_one_sentence_that_says_what_to_do(write: Write) -> None:
    with pytest.raises(PluginError) as caught:
        load_plugin("no_such_plugin:build", what="model")
    text = str(caught.value)
    assert text.startswith("model 'no_such_plugin:build': importing 'no_such_plugin' failed (ModuleNotFoundError")
    assert text.endswith("check the name and run from the folder that holds it")


def test_a_missing_attribute_is_named(write: Write) -> None:
    write("own_plugin_c.py", "x = 1\n")
    with pytest.raises(PluginError, match=r"^strategy 'own_plugin_c:y': 'own_plugin_c' has no 'y'$"):
        load_plugin("own_plugin_c:y", what="strategy")


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("def broken(", "SyntaxError"),
        ("import no_such_dependency", "ModuleNotFoundError"),
        ("raise SystemExit(3)", "SystemExit"),
    ],
)
def test_a_module_that_fails_on_import_is_reported_with_its_error(write: Write, source: str, kind: str) -> None:
    write("own_plugin_d.py", source)
    with pytest.raises(PluginError, match=rf"importing 'own_plugin_d' failed \({kind}: "):
        load_plugin("own_plugin_d:x", what="model")
