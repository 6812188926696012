"""What every test shares: no network chatter, no file outside ``tmp_path``, and no silent skip."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# Read by flwr and torch when they are first imported, so before any test module is.
os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["FLWR_DISABLE_UPDATE_CHECK"] = "1"
os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # several test processes with a thread a core each only wait for each other

# No deadline: a busy machine is no failure. CI draws the same examples each time, a developer's machine new ones.
settings.register_profile("constellation", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("constellation")

ALLOWED_SKIPS = Path(__file__).parent / "allowed_skips.txt"
_SKIPPED = pytest.StashKey[list[tuple[str, str]]]()
_ALLOWED = pytest.StashKey[list[tuple[str, str]]]()


@pytest.fixture(autouse=True, scope="session")
def _own_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the user's keys, caches and settings out of the tests, and the tests out of them."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("CONSTELLATION_")]:
            patch.delenv(name)
        for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "FLWR_HOME"):
            patch.setenv(name, str(home / name.lower()))
        patch.setenv("CONSTELLATION_HOME", str(home / "constellation"))
        patch.setenv("CONSTELLATION_NO_DASHBOARD", "true")  # tests of it ask for it
        yield


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--strict-skips``, which CI implies."""
    text = "fail on a skipped test that tests/allowed_skips.txt does not list"
    parser.addoption("--strict-skips", action="store_true", default=bool(os.environ.get("CI")), help=text)


def pytest_configure(config: pytest.Config) -> None:
    """Begin with no skips seen, and with a list of allowed ones that can be read."""
    config.stash[_SKIPPED] = []
    config.stash[_ALLOWED] = allowed_skips(ALLOWED_SKIPS.read_text(encoding="utf-8"))
    config.pluginmanager.register(_SkipRecorder(config), "constellation-skips")


class _SkipRecorder:
    """Collects what was skipped; under xdist the reports of all workers pass through here too."""

    def __init__(self, config: pytest.Config) -> None:
        self._skipped = config.stash[_SKIPPED]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a skipped or expectedly failing test."""
        self._note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note a file that skipped itself."""
        self._note(report)

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.outcome == "skipped":
            self._skipped.append((report.nodeid, _reason_of(report)))


def _reason_of(report: pytest.TestReport | pytest.CollectReport) -> str:
    expected_failure = getattr(report, "wasxfail", None)
    if expected_failure is not None:
        return f"xfail: {expected_failure}"
    return str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)


def allowed_skips(text: str) -> list[tuple[str, str]]:
    """Read ``NODE ID | reason`` lines.

    Raises:
        pytest.UsageError: A line has no reason.
    """
    allowed = []
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            node_id, _, reason = (part.strip() for part in line.partition(" | "))
            if not node_id or not reason:
                raise pytest.UsageError(f"allowed_skips.txt: {line!r} is not 'NODE ID | reason'")
            allowed.append((node_id, reason))
    return allowed


def unlisted_skips(skipped: list[tuple[str, str]], allowed: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the skips that no line allows for the reason they give."""
    return [
        (node_id, reason)
        for node_id, reason in skipped
        if not any(node_id.startswith(prefix) and part in reason for prefix, part in allowed)
    ]


def _offenders(config: pytest.Config) -> list[tuple[str, str]]:
    if not config.getoption("strict_skips") or hasattr(config, "workerinput"):
        return []
    return unlisted_skips(config.stash[_SKIPPED], config.stash[_ALLOWED])


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run whose tests all passed but some of which silently did not run."""
    if _offenders(session.config) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name each skip that is not allowed, above the closing line."""
    offenders = _offenders(config)
    if offenders:
        terminalreporter.section("skips that tests/allowed_skips.txt does not list", sep="=", red=True)
    for node_id, reason in offenders:
        terminalreporter.line(f"{node_id} | {reason.removeprefix('Skipped: ')}")
