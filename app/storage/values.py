"""What goes into the store and comes back from writing, beside the views."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from app.storage.views import EventView
from monitor.reporting.samples import NodeSample as NodeSample
from shared.events import JsonValue

Row = Mapping[str, JsonValue]  # an event as events.jsonl holds it
Scalar = bool | int | float | str

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSource:
    """Who reports a run: the process that trains, and where its folder is."""

    run_dir: str = ""
    pid: int | None = None
    create_time: float | None = None  # Unix seconds: a pid alone may be another process's by now
    host: str = ""
    origin: Literal["dashboard", "terminal", "import"] = "terminal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingested:
    """What a call of ``ingest`` changed."""

    last_seq: int
    events: tuple[EventView, ...] = ()  # the new ones
    is_new_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T]):
    """One page of a list; ``next_cursor`` is None on the last one."""

    items: tuple[T, ...]
    next_cursor: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunProcess:
    """A run as whoever steers it knows it: what it should do, where it lies, and which process it is."""

    run_id: str
    state: str
    desired_state: str
    origin: str
    run_dir: str
    host: str  # "" where nobody told
    pid: int | None
    create_time: float | None
    last_seq: int  # of its events
    ended_ts: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplePoint:
    """One point of a node's history."""

    ts: float
    cpu_percent: float | None = None
    rss_bytes: int | None = None
    memory_percent: float | None = None
    sent_bytes: int | None = None
    received_bytes: int | None = None
    gpu_percent: float | None = None
    gpu_memory_bytes: int | None = None
