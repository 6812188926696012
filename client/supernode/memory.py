"""What a node remembers beyond its process: its id, and the message it is working on.

A node that is killed at its work finds the message again when it is back, and answers it late instead of never.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from client.supernode.flwr_compat import Received

MAX_STARTS = 2  # of the work on one message: what kills the process twice will kill it again


@dataclass(frozen=True, slots=True, kw_only=True)
class InHand:
    """A message that was taken and not answered."""

    node_id: int
    starts: int  # how often the work on it was begun
    received: Received


class Memory(Protocol):
    """Where a node's id and its work are kept."""

    node_id: int | None

    def remember_node(self, node_id: int) -> None:
        """Keep this node's id."""

    def take(self, in_hand: InHand) -> None:
        """Keep the message that is worked on."""

    def taken(self) -> InHand | None:
        """Return the message that was worked on when the process ended."""

    def done(self) -> None:
        """Forget the message: it is answered, or will not be."""


class NoMemory:
    """Remembers for as long as the process lives."""

    def __init__(self) -> None:
        self.node_id: int | None = None

    def remember_node(self, node_id: int) -> None:
        """Keep this node's id."""
        self.node_id = node_id

    def take(self, in_hand: InHand) -> None:
        """Keep nothing: the process that could ask is gone."""

    def taken(self) -> InHand | None:
        """Return nothing."""
        return None

    def done(self) -> None:
        """Keep nothing."""


class FolderMemory:
    """Remembers in files that only their owner can read; a damaged one counts as none."""

    def __init__(self, folder: Path) -> None:
        """Make the folder where it is missing.

        Raises:
            OSError: It cannot be made.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._node_file = folder / "node.json"
        self._message_file = folder / "in-hand.json"
        self.node_id = self._read_node()

    def remember_node(self, node_id: int) -> None:
        """Keep this node's id."""
        self.node_id = node_id
        _write(self._node_file, json.dumps({"node-id": node_id}))

    def take(self, in_hand: InHand) -> None:
        """Keep the message that is worked on."""
        facts = {"node-id": in_hand.node_id, "starts": in_hand.starts, "received": in_hand.received.to_json()}
        _write(self._message_file, json.dumps(facts))

    def taken(self) -> InHand | None:
        """Return the message that was worked on when the process ended."""
        try:
            facts = json.loads(self._message_file.read_text(encoding="utf-8"))
            received = Received.from_json(facts["received"])
            return InHand(node_id=int(facts["node-id"]), starts=int(facts["starts"]), received=received)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def done(self) -> None:
        """Forget the message."""
        self._message_file.unlink(missing_ok=True)

    def _read_node(self) -> int | None:
        try:
            found = json.loads(self._node_file.read_text(encoding="utf-8"))["node-id"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return found if type(found) is int else None


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all, readable by its owner only."""
    fresh = path.with_name(f".{path.name}-{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    fresh.replace(path)
