"""Judges what was measured: is a node there, is there room on the disk, do clocks agree. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from monitor.words import duration

STALE_AFTER_S = 15.0  # one lost heartbeat (each 10 s), or seven lost samples (each 2 s)
OFFLINE_AFTER_S = 45.0  # four lost heartbeats
MAX_CLOCK_SKEW_S = 5.0  # beyond, times in a chart of two machines mislead
LOW_DISK_BYTES = 1 << 30  # below, a long run may fill it
FULL_DISK_BYTES = 64 << 20  # below, the next checkpoint may not fit

Liveness = Literal["online", "stale", "offline"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at."""

    name: str
    state: Literal["ok", "warning", "failed"]
    detail: str  # one sentence for a person


def liveness(last_seen_ts: float, now: float) -> Liveness:
    """Tell whether a node is there; times are the *server's*: a client's own clock may be wrong."""
    age = now - last_seen_ts
    if age < STALE_AFTER_S:
        return "online"
    return "stale" if age < OFFLINE_AFTER_S else "offline"


def check_last_seen(node: str, last_seen_ts: float | None, now: float) -> Check:
    """Judge when a node was heard of last."""
    name = f"{node} is heard of"
    if last_seen_ts is None:
        return Check(name=name, state="failed", detail=f"{node} was never heard of")
    state: dict[Liveness, Literal["ok", "warning", "failed"]] = {
        "online": "ok",
        "stale": "warning",
        "offline": "failed",
    }
    ago = duration(max(0.0, now - last_seen_ts))
    return Check(name=name, state=state[liveness(last_seen_ts, now)], detail=f"{node} was heard of {ago} ago")


def check_disk(free_bytes: int | None, where: str) -> Check:
    """Judge the room that is left."""
    name = "disk has room"
    if free_bytes is None:
        return Check(name=name, state="warning", detail=f"the room on the disk of {where} cannot be found out")
    text = f"{free_bytes / 2**30:.1f} GiB are free on the disk of {where}"
    if free_bytes < FULL_DISK_BYTES:
        return Check(name=name, state="failed", detail=f"{text}: events and checkpoints cannot be kept")
    if free_bytes < LOW_DISK_BYTES:
        return Check(name=name, state="warning", detail=f"{text}: a long run may fill it")
    return Check(name=name, state="ok", detail=text)


def check_store(error: str | None) -> Check:
    """Judge an attempt to write to the run store; ``error`` says why it failed."""
    if error is None:
        return Check(name="store is writable", state="ok", detail="the run store takes what is written")
    return Check(name="store is writable", state="failed", detail=f"the run store cannot be written: {error}")


def check_clock(sent_ts: float, received_ts: float, travel_s: float = 0.0) -> Check:
    """Judge another machine's clock by a message from it.

    Args:
        sent_ts: When it says that it sent the message.
        received_ts: When the message was here, by our clock.
        travel_s: What the way may have taken at the most (half a round trip, where that is known).
    """
    ahead = sent_ts - received_ts
    skew = max(0.0, ahead if ahead > 0 else -ahead - travel_s)
    if skew > MAX_CLOCK_SKEW_S:
        direction = "ahead of" if ahead > 0 else "behind"
        detail = f"its clock is {duration(skew)} {direction} ours: times in charts mislead; set it by NTP"
        return Check(name="clocks agree", state="warning", detail=detail)
    return Check(name="clocks agree", state="ok", detail="its clock agrees with ours")
