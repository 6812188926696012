"""What is installed is ours, whole, and nothing else; and the documents' commands are the ones that run."""

from __future__ import annotations

import importlib.util
import io
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from flwr.cli.build import build_fab_from_files
from hatchling.builders.wheel import WheelBuilder

from shared.config import RunConfig, from_mapping, load_toml
from shared.plugins import load_plugin

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("shared", "app", "client", "mesh", "monitor", "constellation")
PRESETS = sorted((ROOT / "config").glob("*.toml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    (built,) = WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])
    return zipfile.ZipFile(built)


@pytest.mark.parametrize("package", PACKAGES)
def test_each_package_name_is_this_projects_own(package: str) -> None:
    """``app``, ``client`` and ``shared`` are common names: nobody else's may come first."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin == str(ROOT / package / "__init__.py")


def test_wheel_holds_the_six_packages_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert tops == {*PACKAGES, "constellation_fl-0.1.0.dist-info"}


def test_wheel_holds_every_module_and_only_data_that_is_used(wheel: zipfile.ZipFile) -> None:
    packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    modules = {path.relative_to(ROOT).as_posix() for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    assert {name for name in packed if name.endswith(".py")} == modules
    assert {f"{package}/py.typed" for package in PACKAGES} <= packed
    assert "shared/datasets/files/mnist_sample.npz" in packed
    assert {name.rpartition(".")[2] for name in packed} <= {
        "py",
        "typed",
        "npz",
        "toml",
        "txt",
        "md",
        "html",
        "css",
        "js",
        "mjs",
        "json",  # lock of the vendored files
        "svg",
        "woff2",
        "mako",  # alembic's form of a migration
    }


def test_wheel_holds_the_presets_as_they_are(wheel: zipfile.ZipFile) -> None:
    packed = {name for name in wheel.namelist() if name.startswith("constellation/presets/")}
    assert packed == {f"constellation/presets/{path.name}" for path in PRESETS}
    for path in PRESETS:
        assert wheel.read(f"constellation/presets/{path.name}") == path.read_bytes()


def test_wheel_carries_license_and_command(wheel: zipfile.ZipFile) -> None:
    info = "constellation_fl-0.1.0.dist-info"
    assert wheel.read(f"{info}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    assert b"constellation = constellation.cli:main" in wheel.read(f"{info}/entry_points.txt")
    assert b"Requires-Python: >=3.11" in wheel.read(f"{info}/METADATA")


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_each_preset_is_valid_and_says_what_it_is_for(path: Path) -> None:
    assert path.read_text(encoding="utf-8").startswith("# ")
    from_mapping(load_toml(path), where=path.name)


def test_the_demo_preset_spells_out_the_defaults() -> None:
    assert from_mapping(load_toml(ROOT / "config" / "demo.toml"), where="demo.toml") == RunConfig()


def test_flower_app_config_is_the_defaults() -> None:
    """``flwr run -c`` overrides only keys that stand in pyproject.toml."""
    configured = PROJECT["tool"]["flwr"]["app"]["config"]
    expected = RunConfig().as_flat()
    assert configured == expected
    assert {key: type(value) for key, value in configured.items()} == {key: type(v) for key, v in expected.items()}


@pytest.mark.parametrize("component", ["serverapp", "clientapp"])
def test_flower_app_components_can_be_imported(component: str) -> None:
    load_plugin(PROJECT["tool"]["flwr"]["app"]["components"][component], what=component)


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")  # flwr's own use of pathspec
def test_flower_bundle_is_thin() -> None:
    """It names the installed package: a bundle's own copy would come first and lack the npz."""
    files = {
        name: ROOT / name for name in ("pyproject.toml", "LICENSE", "README.md", "shared/config.py", "run_demo.py")
    }
    bundle, _ = build_fab_from_files({name: path for name, path in files.items() if path.exists()})
    assert set(zipfile.ZipFile(io.BytesIO(bundle)).namelist()) == {"pyproject.toml", "LICENSE", ".info/CONTENT"}


def readme_commands() -> list[str]:
    return re.findall(r"^python3 -m venv .*$", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.MULTILINE)


def test_readme_starts_with_two_commands_that_do_all_the_set_up() -> None:
    demo, check = readme_commands()
    assert demo == "python3 -m venv .venv && .venv/bin/pip install -e . && .venv/bin/python run_demo.py"
    assert check == "python3 -m venv .venv && .venv/bin/pip install -e '.[dev]' && .venv/bin/python .ci/check.py all"


def test_ci_runs_the_readmes_test_command() -> None:
    """.ci/run takes the line from the README by this pattern, so the two cannot drift."""
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    (pattern,) = re.findall(r"grep -E '([^']+)' README\.md", script)
    assert [command for command in readme_commands() if re.search(pattern, command)] == readme_commands()[1:]
    assert "pip install" not in script, "what CI installs is what the README's command installs"
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


def test_makefile_names_levels_that_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    levels = re.findall(r"\.ci/check\.py (\w+)$", makefile, flags=re.MULTILINE)
    assert levels == ["static", "fast", "all", "slow"]
    command = [sys.executable, ROOT / ".ci" / "check.py", "nonsense"]
    answer = subprocess.run(command, check=False, capture_output=True, text=True)
    assert answer.returncode == 2
    assert answer.stderr.strip().endswith("|".join(levels))


def test_editable_install_holds_nothing_but_links(tmp_path: Path) -> None:
    """A ``constellation`` folder of presets in site-packages would be imported in place of the package."""
    (built,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["editable"])
    tops = {name.split("/")[0] for name in zipfile.ZipFile(built).namelist()}
    assert {top for top in tops if not top.startswith("_editable_impl_")} == {"constellation_fl-0.1.0.dist-info"}
