"""What the node's loop asks of a SuperLink."""

from __future__ import annotations

from typing import Protocol

from client.supernode.flwr_compat import Deflated, Fab, Received, Run


class FleetApi(Protocol):
    """What the loop asks of a SuperLink; ``flwr_compat.Fleet`` over HTTP."""

    def register(self) -> int:
        """Make this node known."""

    def activate(self, heartbeat_s: float) -> int:
        """Come online."""

    def deactivate(self, node_id: int) -> None:
        """Go offline."""

    def unregister(self, node_id: int) -> None:
        """Be forgotten."""

    def heartbeat(self, node_id: int, heartbeat_s: float) -> None:
        """Stay online."""

    def pull(self, node_id: int) -> Received | None:
        """Take the next message."""

    def run(self, node_id: int, run_id: int) -> Run:
        """Return what is known of a run."""

    def fab(self, node_id: int, run: Run) -> Fab:
        """Return a run's bundle."""

    def pull_object(self, node_id: int, run_id: int, object_id: str) -> bytes | None:
        """Return an object's bytes; None while it is not there yet."""

    def confirm(self, node_id: int, received: Received) -> None:
        """Say that a message has arrived."""

    def push(self, node_id: int, reply: Deflated, seconds: float) -> tuple[set[str], str]:
        """Announce a reply."""

    def push_object(self, node_id: int, run_id: int, session: str, object_id: str, content: bytes) -> bool:
        """Send an object."""
