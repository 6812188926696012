"""Which queued run starts next, and why the others wait: a pure decision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from monitor.words import plural

HELD = "not started yet: start it when you like"


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A run in the queue."""

    run_id: str
    is_held: bool  # it was made without being started


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Who starts now, and what those that wait are told."""

    start: tuple[str, ...]
    reasons: Mapping[str, str]


def plan(queue: Sequence[Waiting], living: Sequence[str], limit: int) -> Plan:
    """Fill the free places in the queue's order.

    Args:
        queue: The queued runs, the one that waits longest first.
        living: Ids of the runs under way.
        limit: How many may be under way at once.
    """
    ready = [run.run_id for run in queue if not run.is_held]
    free = max(0, limit - len(living))
    start, waiting = ready[:free], ready[free:]
    before = [*living, *start]
    reasons = {run.run_id: HELD for run in queue if run.is_held}
    for place, run_id in enumerate(waiting, start=1):
        reasons[run_id] = _reason(before, place, limit)
    return Plan(start=tuple(start), reasons=reasons)


def _reason(under_way: Sequence[str], place: int, limit: int) -> str:
    names = ", ".join(under_way[:3]) + (", ..." if len(under_way) > 3 else "")
    runs = f"run {names}" if len(under_way) == 1 else f"runs {names}"
    at_once = f"{plural(limit, 'run')} at a time"
    return f"waits for {runs} to end ({at_once}); number {place} in the queue"
