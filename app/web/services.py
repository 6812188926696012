"""What the web layer works with; ``serve`` puts it together, tests put in what they like."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from app.control.previews import EpsilonPreview, PartitionPreview
from app.storage.store import Store
from app.storage.views import RunView, Scalar
from app.web.auth.access import Access

MAX_VIEWERS = 200  # each pins threads; beyond, pages poll


class Supervisor(Protocol):
    """Starts and steers runs: ``app.control.supervisor.RunSupervisor``."""

    def create(self, config: Mapping[str, Scalar], name: str, start: bool = True) -> RunView:
        """Make a run, and start it when its turn comes."""

    def start(self, run_id: str) -> RunView:
        """Start a run that was only made."""

    def pause(self, run_id: str) -> RunView:
        """Let it stop between two phases, and wait."""

    def resume(self, run_id: str) -> RunView:
        """Let it go on, or start it again from its checkpoint."""

    def stop(self, run_id: str) -> RunView:
        """End it after the present phase."""

    def log_lines(self, run_id: str, tail: int) -> list[str]:
        """Return the last lines that its process printed."""


class Previews(Protocol):
    """Shows what a run would be, from processes of their own: ``app.control.previews.Previews``."""

    def partition(self, config: Mapping[str, object]) -> PartitionPreview:
        """Show how the data would be spread."""

    def epsilon(self, query: Mapping[str, object]) -> EpsilonPreview:
        """Estimate the privacy that would be spent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebOptions:
    """How the dashboard answers."""

    output: Path  # where runs are kept
    version: str = ""
    max_viewers: int = MAX_VIEWERS
    message_queue: str = ""  # redis://...: several dashboards over one database share their events
    channel: str = "constellation"  # of the queue: dashboards over another database have another one
    proxy_hops: int = 0  # trusted proxies before this server; 0 believes no X-Forwarded-... at all
    database: str = "sqlite"


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What requests are answered with."""

    store: Store
    access: Access
    options: WebOptions
    supervisor: Supervisor | None = None  # None: this dashboard only shows
    previews: Previews | None = None
    now: Callable[[], float] = time.time
