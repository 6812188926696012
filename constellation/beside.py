"""Whom a run of the command reports to: the dashboard that started it, or one beside it that ends with it."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from constellation.own_dashboard import OwnDashboard, beside
from constellation.reporting import REPORT_URL, Reporting, reporting_from
from shared.config import RunConfig, from_environment
from shared.errors import ConfigError


class Beside:
    """What is beside the runs of one command: nothing, a dashboard elsewhere, or our own."""

    def __init__(
        self, output: Path, console: Console, own: OwnDashboard | None, environment: Mapping[str, str]
    ) -> None:
        self._output = output
        self._console = console
        self._own = own
        self._environment = environment
        self._is_introduced = False

    def introduce(self) -> None:
        """Say where the dashboard is and how to sign in."""
        own = self._own
        if own is None or self._is_introduced:
            return
        is_there = own.wait_until_ready()
        if not own.url:
            return
        self._is_introduced = is_there
        note = (
            "" if own.is_ours and is_there else " (it is still starting)" if own.is_ours else " (it was there already)"
        )
        self._say(f"dashboard: {own.url}{note}")
        if is_there and (link := own.login_url()):
            self._say(f"sign in to steer runs, once, within 10 minutes: {link}")

    def reporting(self) -> Reporting | None:
        """Return what reports one run, None when there is nobody to report to."""
        if self._own is not None:
            return self._own.reporting() if self._own.url else None
        return reporting_from(self._environment, output=self._output)

    def stay(self) -> None:
        """Keep our own dashboard open for whoever sits at a terminal, until Ctrl-C."""
        own = self._own
        if own is not None and own.is_ours and _is_at_a_terminal():
            self.introduce()
            self._say(f"dashboard stays open at {own.url}, Ctrl-C ends it")
            own.stay()

    def _say(self, sentence: str) -> None:
        say(self._console, sentence)


@contextmanager
def dashboard_beside(
    config: RunConfig,
    output: Path,
    console: Console,
    *,
    is_port_wanted: bool,
    is_supervised: bool,
    environment: Mapping[str, str] = os.environ,
) -> Iterator[Beside]:
    """Start the dashboard, when one is wanted and the run has nobody to report to; it starts while others import.

    Raises:
        UsageError: The port that somebody named is taken, or the folder cannot be written.
    """
    with contextlib.ExitStack() as stack:
        own = None
        is_unwanted = config.no_dashboard or is_supervised or bool(environment.get(REPORT_URL))
        # A run that goes on has its settings from its folder; whether this machine shows dashboards is said here.
        if not (is_unwanted or from_environment(environment).get("no-dashboard")) and _could_run(config):
            own = stack.enter_context(
                beside(output, config.web_port, is_wanted=is_port_wanted, say=lambda sentence: say(console, sentence))
            )
        yield Beside(output, console, own, environment)


def say(console: Console, sentence: str) -> None:
    """Print one sentence on a line of its own, however long."""
    console.print(sentence, markup=False, highlight=False, soft_wrap=True)


def _could_run(config: RunConfig) -> bool:
    """Tell whether the run is worth a dashboard: one with a name that does not exist says so and is over."""
    from app.control.config_check import check_config

    try:
        check_config(config.as_flat())
    except ConfigError:
        return False
    return True


def _is_at_a_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()
