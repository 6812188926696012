"""An app is imported from its folder, whatever its modules are called, and leaves nothing behind."""

import sys
from pathlib import Path

import pytest
from flwr.clientapp import ClientApp

import app
import client
import shared.errors
from constellation.app_imports import app_on_path, load_component
from shared.errors import PluginError

APP = "from flwr.clientapp import ClientApp\napp = ClientApp()\n"


def test_modules_called_like_ours_are_theirs_inside_and_ours_afterwards(tmp_path: Path) -> None:
    (tmp_path / "client.py").write_text(APP + "from app.deep import depth\nfrom shared import value\n")
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "deep.py").write_text("depth = 3\n")
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "__init__.py").write_text("value = 4\n")
    path = list(sys.path)
    with app_on_path(tmp_path):
        found = load_component("client:app", ClientApp, tmp_path)
        assert isinstance(found, ClientApp)
        theirs = sys.modules["client"]
        assert (theirs.depth, theirs.value) == (3, 4)
    assert sys.path == path
    assert sys.modules["client"] is client
    assert sys.modules["app"] is app
    assert sys.modules["shared.errors"] is shared.errors
    assert "app.deep" not in sys.modules


def test_modules_of_one_app_are_not_found_by_the_next(tmp_path: Path) -> None:
    for number in (1, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "task_of_mine.py").write_text(f"{APP}number = {number}\n")
        with app_on_path(folder):
            load_component("task_of_mine:app", ClientApp, folder)
            assert sys.modules["task_of_mine"].number == number
    assert "task_of_mine" not in sys.modules


def test_our_own_repository_is_an_app_too() -> None:
    root = Path(client.__file__).parent.parent
    with app_on_path(root):
        assert sys.modules["client"] is client
        assert isinstance(load_component("client.client_app:app", ClientApp, root), ClientApp)
    assert sys.modules["client"] is client


@pytest.mark.parametrize(
    ("reference", "sentence"),
    [
        ("absent:app", "ModuleNotFoundError: No module named 'absent'; install what the app needs"),
        ("needy:app", r"No module named 'a_data_set_library' \(at .*needy.py:3\)"),
        ("broken:app", r"ZeroDivisionError.*\(at .*broken.py:2\)"),
        ("wrong:app", r"SyntaxError"),
        ("leaving:app", "SystemExit: no"),
        ("good:other", "no 'other'"),
        ("good:number", "is not one: it is a int"),
    ],
)
def test_what_cannot_be_imported_is_a_sentence(tmp_path: Path, reference: str, sentence: str) -> None:
    (tmp_path / "needy.py").write_text("\n\nimport a_data_set_library\n")
    (tmp_path / "broken.py").write_text("\n1 / 0\n")
    (tmp_path / "wrong.py").write_text("def\n")
    (tmp_path / "leaving.py").write_text("import sys\nsys.exit('no')\n")
    (tmp_path / "good.py").write_text(f"{APP}number = 3\n")
    with app_on_path(tmp_path), pytest.raises(PluginError, match=sentence):
        load_component(reference, ClientApp, tmp_path)
