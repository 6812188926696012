"""A page, as the server sees it: a Socket.IO client that keeps what it is told."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import socketio


class Viewer:
    """Connects at once; ``heard`` is everything in the order it came."""

    def __init__(self, url: str, **options: Any) -> None:
        self.heard: queue.Queue[tuple[str, Any]] = queue.Queue()
        self.client = socketio.Client(reconnection=False)
        self.client.on("*", lambda event, *data: self.heard.put((event, data[0] if data else None)))
        self.client.connect(url, wait_timeout=10, **options)

    def subscribe(self, room: str, after: int | None = None) -> Any:
        """Enter a room, and return the server's answer."""
        wish: dict[str, object] = {"room": room}
        if after is not None:
            wish["after"] = after
        return self.client.call("subscribe", wish, timeout=10)

    def next(self, event: str = "update") -> Any:
        """Wait for an event; others are passed over."""
        while True:
            name, data = self.heard.get(timeout=20)
            if name == event:
                return data


@contextmanager
def watching(url: str, **options: Any) -> Iterator[Viewer]:
    """Watch for as long as the block runs."""
    viewer = Viewer(url, **options)
    try:
        yield viewer
    finally:
        viewer.client.disconnect()
