"""CI's rule that no test is skipped in silence, on a small suite of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

HERE = Path(__file__).parent
SUITE = """
import pytest

def test_passes():
    pass

@pytest.mark.skip(reason="needs a card reader")
def test_reads_a_card():
    pass

@pytest.mark.xfail(reason="not yet")
def test_flies():
    raise AssertionError
"""
ALL_THREE = """
# a comment
tests/test_small.py::test_reads_a_card | card reader
tests/test_small.py::test_flies | xfail: not yet
tests/test_whole_file.py | could not import
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    tests = tmp_path / "tests"
    tests.mkdir()
    shutil.copy(HERE / "conftest.py", tests)
    (tests / "test_small.py").write_text(SUITE, encoding="utf-8")
    (tests / "test_whole_file.py").write_text("import pytest\npytest.importorskip('no_such_thing')\n", encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --import-mode=importlib\n", encoding="utf-8")
    return tmp_path


def run(suite: Path, allowed: str, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    (suite / "tests" / "allowed_skips.txt").write_text(allowed, encoding="utf-8")
    inherited = {name: value for name, value in os.environ.items() if name != "CI" and not name.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", *options]
    return subprocess.run(
        command, cwd=suite, env={**inherited, **environment}, capture_output=True, text=True, check=False
    )


def test_a_developers_run_may_skip(suite: Path) -> None:
    assert run(suite, "").returncode == 0


@pytest.mark.parametrize("options", [("--strict-skips",), ("--strict-skips", "-n", "2")], ids=["one process", "two"])
def test_a_strict_run_fails_and_names_each_unlisted_skip_above_the_closing_line(
    suite: Path, options: tuple[str, ...]
) -> None:
    done = run(suite, "", *options)
    assert done.returncode == 1
    assert "tests/test_small.py::test_reads_a_card | needs a card reader" in done.stdout
    assert "tests/test_small.py::test_flies | xfail: not yet" in done.stdout
    assert "tests/test_whole_file.py | could not import 'no_such_thing'" in done.stdout
    assert "1 passed, 2 skipped, 1 xfailed" in done.stdout.splitlines()[-1]


def test_ci_is_strict_without_being_asked(suite: Path) -> None:
    assert run(suite, "", CI="true").returncode == 1


def test_listed_skips_pass(suite: Path) -> None:
    assert run(suite, ALL_THREE, "--strict-skips").returncode == 0


def test_a_listed_test_may_not_skip_for_another_reason(suite: Path) -> None:
    done = run(suite, ALL_THREE.replace("card reader", "printer"), "--strict-skips")
    assert done.returncode == 1
    assert "test_flies |" not in done.stdout


@pytest.mark.parametrize("line", ["tests/test_small.py", "tests/test_small.py |", " | card reader"])
def test_a_line_without_node_or_reason_is_an_error(suite: Path, line: str) -> None:
    done = run(suite, line, "--strict-skips")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "is not 'NODE ID | reason'" in done.stderr
