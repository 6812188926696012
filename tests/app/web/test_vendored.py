"""What is vendored is what the lock says, with its licenses, and small enough."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
STATIC = ROOT / "app" / "web" / "static"
VENDORED = (STATIC / "vendor", ROOT / "tests" / "browser" / "vendor")
PAGE_BUDGET_BYTES = 150_000  # gzipped JavaScript and CSS of the page, Cytoscape aside
LAZY = "cytoscape.esm.min.mjs"  # fetched where the topology is drawn


def _entries(folder: Path) -> list[dict[str, object]]:
    files = json.loads((folder / "vendor.lock.json").read_text())["files"]
    assert isinstance(files, list)
    return files


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("folder", VENDORED, ids=("page", "tests"))
def test_every_vendored_file_has_the_hash_of_the_lock(folder: Path) -> None:
    for entry in _entries(folder):
        assert _sha256(folder / str(entry["file"])) == entry["sha256"], entry["file"]


@pytest.mark.parametrize("folder", VENDORED, ids=("page", "tests"))
def test_every_vendored_file_names_its_origin_and_brings_its_license(folder: Path) -> None:
    for entry in _entries(folder):
        assert entry["package"] and entry["version"] and entry["source"] and entry["license"], entry["file"]
        licenses = entry["licenses"]
        assert isinstance(licenses, list) and licenses, entry["file"]
        for license_file in licenses:
            assert _sha256(folder / license_file["file"]) == license_file["sha256"]


@pytest.mark.parametrize("folder", VENDORED, ids=("page", "tests"))
def test_nothing_is_vendored_that_the_lock_does_not_name(folder: Path) -> None:
    named = {"vendor.lock.json"}
    for entry in _entries(folder):
        named.add(str(entry["file"]))
        licenses = entry["licenses"]
        assert isinstance(licenses, list)
        named |= {license_file["file"] for license_file in licenses}
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == named


def test_scripts_and_styles_stay_within_the_budget() -> None:
    files = [path for kind in ("*.js", "*.css", "*.mjs") for path in STATIC.rglob(kind) if path.name != LAZY]
    sizes = {path.relative_to(STATIC).as_posix(): len(gzip.compress(path.read_bytes(), 9)) for path in files}
    assert sum(sizes.values()) < PAGE_BUDGET_BYTES, sorted(sizes.items(), key=lambda item: -item[1])[:12]


def test_no_file_of_ours_names_another_origin() -> None:
    """No CDN, no font service, no tracker: what a page needs comes from its own server."""
    own = [*(STATIC / "js").rglob("*.js"), *(STATIC / "css").rglob("*.css")]
    own.append(ROOT / "app" / "web" / "templates" / "index.html")
    for path in own:
        assert not re.search(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}", path.read_text()), path


def test_no_script_or_style_is_inline_and_nothing_is_evaluated() -> None:
    """The content security policy refuses them; this says it before a browser has to."""
    shell = (ROOT / "app" / "web" / "templates" / "index.html").read_text()
    assert not re.search(r"<script(?![^>]*\bsrc=)", shell)
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=", shell)
    for path in (STATIC / "js").rglob("*.js"):
        text = path.read_text()
        assert not re.search(r"\beval\(|new Function\(|dangerouslySetInnerHTML|innerHTML|insertAdjacentHTML", text), (
            path
        )


def test_every_imported_module_exists() -> None:
    for path in (STATIC / "js").rglob("*.js"):
        for name in re.findall(r"""(?:from|import)\s*\(?\s*["'](\.{1,2}/[^"']+)["']""", path.read_text()):
            assert (path.parent / name).resolve().is_file(), f"{path.name} imports {name}"


def test_the_shell_names_only_files_that_exist() -> None:
    shell = (ROOT / "app" / "web" / "templates" / "index.html").read_text()
    for name in re.findall(r'(?:src|href)="/static/([^"]+)"', shell):
        assert (STATIC / name).is_file(), name


def _imports_of(path: Path, seen: set[Path]) -> set[Path]:
    for name in re.findall(r'^\s*(?:import|export)\b[^;]*?from\s*"([^"]+)"', path.read_text(), re.MULTILINE):
        found = (path.parent / name).resolve()
        if found not in seen:
            seen.add(found)
            if "vendor" not in found.parts:
                _imports_of(found, seen)
    return seen


def test_the_shell_preloads_exactly_what_the_page_begins_with() -> None:
    shell = (ROOT / "app" / "web" / "templates" / "index.html").read_text()
    told = set(re.findall(r'rel="modulepreload" href="/static/([^"]+)"', shell))
    needed = {path.relative_to(STATIC).as_posix() for path in _imports_of(STATIC / "js" / "main.js", set())}
    assert told == needed
