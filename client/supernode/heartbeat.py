"""Keeps a node online from a thread of its own: training may take longer than a SuperLink has patience."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from client.supernode.flwr_compat import FleetError, NodeUnknown

# Flower counts a node as gone after two intervals without a heartbeat; less than 10 s is refused. The stock SuperNode's
# 30 s let a round wait a minute for a node that died.
INTERVAL_S = 15.0
_SHARE = 0.6  # of the interval between two heartbeats: one may be lost


class Beats:
    """Whether the SuperLink still knows the node."""

    def __init__(self) -> None:
        self.is_lost = False


@contextmanager
def beating(beat: Callable[[], None], interval_s: float = INTERVAL_S) -> Iterator[Beats]:
    """Send heartbeats while this lasts; ``is_lost`` turns true when the SuperLink does not know the node any more.

    An outage is nothing to report here: whoever pulls messages sees it too.
    """
    beats, over = Beats(), threading.Event()

    def run() -> None:
        while not over.wait(interval_s * _SHARE):
            try:
                beat()
            except NodeUnknown:
                beats.is_lost = True
                return
            except FleetError:
                continue

    thread = threading.Thread(target=run, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield beats
    finally:
        over.set()  # not joined: a heartbeat on its way may wait for a dead network, and the thread is a daemon
