"""What a report can show besides the events of its run; each part is left out when it is not given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from monitor.privacy import Privacy


@dataclass(frozen=True, slots=True, kw_only=True)
class Baselines:
    """Accuracies to compare the federation with, as fractions, on the same central test set."""

    centralised: float | None = None  # one model trained on everybody's data together
    local_only: float | None = None  # each client alone, with its own data: mean over clients
    local_only_deviation: float | None = None
    local_only_by_client: Mapping[str, float] = field(default_factory=dict)
    note: str = ""  # how they were trained, one sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedRun:
    """One of several runs that differ in their seed only."""

    seed: int
    accuracy: float | None
    loss: float | None
    run: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extras:
    """Everything a report can show besides the events."""

    environment: Mapping[str, str] = field(default_factory=dict)  # monitor.system.environment()
    command: str = ""  # the same run as a command line; "" makes one from the settings
    how_to_load: str = ""  # Python lines that load the model
    baselines: Baselines | None = None
    seeds: tuple[SeedRun, ...] = ()
    privacy: Privacy | None = None  # instead of what the run's events say
