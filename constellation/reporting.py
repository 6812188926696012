"""Wires a run to the dashboard that it reports to: an address and a token, from whoever starts the run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from monitor.reporting.connection import Connection
from monitor.reporting.destination import Token, parse_destination, token_file
from monitor.reporting.http_sink import HttpSink
from monitor.reporting.sampler import ResourceSampler
from shared.errors import UsageError

REPORT_URL = "CONSTELLATION_REPORT_URL"
REPORT_TOKEN_FILE = "CONSTELLATION_REPORT_TOKEN_FILE"  # noqa: S105 - a name
REPORT_ORIGIN = "CONSTELLATION_REPORT_ORIGIN"
_ORIGINS = ("terminal", "dashboard")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reporting:
    """What reports one run: give ``sink`` to the run's sinks and ``sampler`` as its sampler. Neither is used twice."""

    sink: HttpSink
    sampler: ResourceSampler


def report_to(url: str, token: Token, output: Path, *, origin: str = "terminal") -> Reporting:
    """Report one run to the dashboard at ``url``; ``output`` is the folder that holds the run's folder.

    Raises:
        UsageError: ``url`` is no address.
    """
    destination = parse_destination(url)
    return Reporting(
        sink=HttpSink(Connection(destination, token), output=output, origin=origin),
        sampler=ResourceSampler(Connection(destination, token)),
    )


def reporting_from(environment: Mapping[str, str] = os.environ, *, output: Path) -> Reporting | None:
    """Report one run as the environment says (the dashboard sets it for runs it starts); None when it says nothing.

    Raises:
        UsageError: It names an address without a token file, or what cannot be used.
    """
    url = environment.get(REPORT_URL, "")
    if not url:
        return None
    path = environment.get(REPORT_TOKEN_FILE, "")
    if not path:
        raise UsageError(f"{REPORT_URL} is set without {REPORT_TOKEN_FILE}; name the file that holds the token")
    origin = environment.get(REPORT_ORIGIN, "terminal")
    if origin not in _ORIGINS:
        raise UsageError(f"{REPORT_ORIGIN} must be one of {', '.join(_ORIGINS)}, got {origin!r}")
    return report_to(url, token_file(Path(path)), output, origin=origin)
