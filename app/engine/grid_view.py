"""A grid that shows some of another's nodes: how a client is left out of the sampling of any strategy."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from app.engine import flwr_compat


class GridWithout(Grid):
    """A grid on which some nodes are not to be seen, and all else is as it was."""

    def __init__(self, grid: Grid, is_hidden: Callable[[int], bool]) -> None:
        """Look at ``grid``."""
        self._grid = grid
        self._is_hidden = is_hidden

    def get_node_ids(self) -> list[int]:
        """Return the nodes that are seen."""
        return [node_id for node_id in self._grid.get_node_ids() if not self._is_hidden(node_id)]

    @property
    def run(self) -> flwr_compat.Run:
        """Return the grid's run."""
        return self._grid.run

    def set_run(self, run: flwr_compat.Run) -> None:
        """Set the grid's run."""
        self._grid.set_run(run)

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Create a message on the grid."""
        return self._grid.create_message(content, message_type, dst_node_id, group_id, ttl)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send through the grid."""
        return self._grid.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Receive through the grid."""
        return self._grid.pull_messages(message_ids)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Send and receive through the grid."""
        return self._grid.send_and_receive(messages, timeout=timeout)
