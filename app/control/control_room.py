"""Everything that looks after runs, put together: what the web process starts once and ends once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from app.control.background import Background
from app.control.importer import Importer
from app.control.launcher import Launcher
from app.control.previews import Previews
from app.control.supervisor import RunSupervisor
from app.storage.store import Store
from app.storage.values import Ingested


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlRoom:
    """The services over runs; ``background`` is not started yet."""

    supervisor: RunSupervisor
    previews: Previews
    background: Background

    @classmethod
    def over(
        cls,
        store: Store,
        output: Path,
        *,
        report_url: str,
        token_file: Path,
        parallel_runs: int,
        on_ingested: Callable[[Ingested], None],
        on_changed: Callable[[str], None],
    ) -> Self:
        """Make them for one output folder.

        Args:
            store: Where runs are written down.
            output: The folder that gets one folder a run.
            report_url: Where runs report to, as this machine reaches it.
            token_file: With the token they show there.
            parallel_runs: How many may be under way at once.
            on_ingested: Told of events that were imported.
            on_changed: Told of runs whose state was changed here.
        """
        importer = Importer(store, output, on_ingested=on_ingested)
        launcher = Launcher(report_url=report_url, token_file=token_file)
        supervisor = RunSupervisor(store, output, launcher, importer, max_running=parallel_runs, on_changed=on_changed)
        previews = Previews()
        return cls(supervisor=supervisor, previews=previews, background=Background(supervisor, importer, previews))
