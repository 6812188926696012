"""Rules of the code base that ruff and import-linter cannot say."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("shared", "app", "client", "mesh", "monitor", "constellation")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
OUR_PYTHON = sorted(
    [*MODULES, *(ROOT / "benchmarks").rglob("*.py"), *(ROOT / "tests").rglob("*.py"), *ROOT.glob("*.py")]
)

# The documented surface of Flower: its new API, and the older one that apps in the wild still use.
PUBLIC_FLWR = (
    "flwr.app",
    "flwr.clientapp",
    "flwr.clientapp.mod",
    "flwr.clientapp.typing",  # the only home of the type of a mod
    "flwr.serverapp",
    "flwr.serverapp.exception",
    "flwr.serverapp.strategy",
    "flwr.client",
    "flwr.client.mod",
    "flwr.common",
    "flwr.server",
    "flwr.server.client_manager",
    "flwr.server.client_proxy",
    "flwr.server.criterion",
    "flwr.server.strategy",
    "flwr.simulation",
)
# The two places that may touch Flower's private names, each tested against the installed version.
FLWR_COMPAT = ("app/engine/flwr_compat", "client/supernode/")

UNPICKLERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle"}
TORCH_PICKLES = {"load", "save", "package"}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports_of(tree: ast.AST) -> Iterator[tuple[int, str, str]]:
    """Yield (line, module, name) of each import; ``name`` is "" for ``import module``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.lineno, node.module, alias.name) for alias in node.names)


def private_flwr_imports(source: str) -> list[str]:
    """List imports of Flower names that its public modules do not export."""
    found = []
    for line, module, name in imports_of(ast.parse(source)):
        if module.split(".")[0] != "flwr" or (module == "flwr" and f"flwr.{name}" in PUBLIC_FLWR):
            continue
        if not _is_exported(module, name) and f"{module}.{name}" not in PUBLIC_FLWR:
            found.append(f"line {line}: {module} {name}".rstrip())
    return found


def _is_exported(module: str, name: str) -> bool:
    """Ask the installed Flower; a module without ``__all__`` exports what has no leading underscore."""
    if module not in PUBLIC_FLWR:
        return False
    exported = getattr(importlib.import_module(module), "__all__", None)
    return name in ("", *exported) if exported is not None else not name.startswith("_")


def unsafe_loads(source: str) -> list[str]:
    """List what could run code while it reads data: pickle and its kin, ``torch.load``, ``allow_pickle=True``."""
    tree = ast.parse(source)
    found = [
        f"line {line}: {module} {name}".rstrip()
        for line, module, name in imports_of(tree)
        if module.split(".")[0] in UNPICKLERS or (module == "torch" and name in TORCH_PICKLES)
    ]
    for node in ast.walk(tree):
        is_torch = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "torch"
        if is_torch and node.attr in TORCH_PICKLES:
            found.append(f"line {node.lineno}: torch.{node.attr}")
        if isinstance(node, ast.Call) and _may_unpickle(node):
            found.append(f"line {node.lineno}: allow_pickle")
    return found


def _may_unpickle(call: ast.Call) -> bool:
    """Tell ``allow_pickle`` that is not False, except in ``np.save``: tests write the hostile files they try."""
    allowed = [ast.unparse(keyword.value) for keyword in call.keywords if keyword.arg == "allow_pickle"]
    return bool(allowed) and allowed != ["False"] and not ast.unparse(call.func).endswith(".save")


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_private_flower_names_stay_in_the_compat_modules(path: Path) -> None:
    if name_of(path).startswith(FLWR_COMPAT):
        return
    assert private_flwr_imports(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "import flwr.supercore.task",
        "from flwr.app.message import Message",
        "from flwr.common.constant import Status",
        "from flwr.app import TaskIdentity",
        "from flwr import supercore",
        "def later():\n    from flwr.server.superlink import fleet",
    ],
)
def test_the_rule_sees_a_private_flower_import(source: str) -> None:
    assert len(private_flwr_imports(source)) == 1


def test_the_rule_lets_public_flower_imports_pass() -> None:
    source = """
import flwr.app
from flwr import serverapp
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg
"""
    assert private_flwr_imports(source) == []


@pytest.mark.parametrize("path", OUR_PYTHON, ids=name_of)
def test_nothing_of_ours_reads_data_that_can_run_code(path: Path) -> None:
    if path != Path(__file__):
        assert unsafe_loads(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "import torch\ntorch.load('x', weights_only=True)",
        "from torch import load",
        "import numpy\nnumpy.load('x', allow_pickle=True)",
        "import numpy\nnumpy.load('x', allow_pickle=flag)",
    ],
)
def test_the_rule_sees_an_unsafe_load(source: str) -> None:
    assert len(unsafe_loads(source)) == 1


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_module_says_what_it_is_for(path: Path) -> None:
    if name_of(path) == "app/__init__.py":
        assert path.read_text(encoding="utf-8") == "", "a bare `flask` would import it: app/__init__.py stays empty"
        return
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_stay_short_enough_to_read_in_one_sitting(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


def test_tests_are_no_packages() -> None:
    """``tests/app/__init__.py`` would shadow ``app``; the Flower Apps that tests run are packages of their own."""
    found = [path.relative_to(ROOT / "tests") for path in (ROOT / "tests").rglob("__init__.py")]
    assert [str(path) for path in found if "apps" not in path.parts] == []


def our_texts() -> Iterator[Path]:
    kinds = ("*.py", "*.toml", "*.md", "*.yaml", "*.txt", "Makefile", "run")
    for folder in (*PACKAGES, "benchmarks", "config", "containers", "tests", ".ci"):
        yield from (path for kind in kinds for path in (ROOT / folder).rglob(kind) if path.is_file())
    yield from (path for kind in ("*.md", "*.toml", "*.py", "Makefile", "*.yaml") for path in ROOT.glob(kind))


def test_no_file_names_a_folder_of_the_machine_it_was_written_on() -> None:
    somewhere = re.compile(r"(?<![\w.<{])/(?:work|home|root|tmp|opt|Users)/\w")
    found = [
        f"{name_of(path)}:{number}: {line.strip()}"
        for path in our_texts()
        if path != Path(__file__)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if somewhere.search(line)
    ]
    assert found == []
