"""What the documents name is there: files, options, settings and imports."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer

from constellation.cli import build_app
from shared.config import RunConfig, key_of

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
README = (ROOT / "README.md").read_text(encoding="utf-8")


def options_of(command: click.Command) -> Iterator[str]:
    for parameter in command.params:
        yield from parameter.opts
        yield from parameter.secondary_opts
    for child in getattr(command, "commands", {}).values():
        yield from options_of(child)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_files_that_exist(path: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)", path.read_text(encoding="utf-8"))
    assert [link for link in links if not link.startswith("https://") and not (ROOT / link).exists()] == []


def test_readme_names_only_options_that_exist() -> None:
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README))
    there = {*options_of(typer.main.get_command(build_app())), "--help"}
    assert named - there == set()


def python_blocks() -> list[ast.Module]:
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    return [ast.parse(block) for block in blocks]


def test_readme_imports_what_is_there() -> None:
    assert len(python_blocks()) >= 2
    for tree in python_blocks():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                module = importlib.import_module(node.module)
                assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []


def test_readme_names_settings_that_exist() -> None:
    keywords = {
        keyword.arg
        for tree in python_blocks()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "RunConfig"
        for keyword in node.keywords
    }
    assert keywords
    assert {key_of(str(name)) for name in keywords} <= set(RunConfig().as_flat())


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_documents_name_files_of_ours_that_exist(path: Path) -> None:
    named = re.findall(r"`((?:shared|app|client|monitor|constellation|tests)/[\w./-]+\.\w+)`", path.read_text("utf-8"))
    assert [name for name in named if not (ROOT / name).exists()] == []
