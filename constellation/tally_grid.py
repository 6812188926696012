"""A Grid around another that counts what passes, for apps that do not look at their clients' errors themselves."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from dataclasses import dataclass

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from app.engine.flwr_compat import Run
from app.engine.local_grid import LocalGrid

_LOG = logging.getLogger(__name__)
_MAX_LOGGED_FAILURES = 5  # different ones: a bug that shows in every client is logged once
_LOOKS_WHILE_WAITING = 10  # at the nodes, with no message in between


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What passed."""

    messages: int
    replies: int
    errors: int  # among the replies
    first_error: str  # one line


class TallyGrid(Grid):
    """Flower's Grid over ``LocalGrid``."""

    def __init__(self, grid: LocalGrid, num_supernodes: int) -> None:
        self._grid = grid
        self._num_supernodes = num_supernodes
        self._lock = threading.Lock()
        self._messages = self._replies = self._errors = self._looks = 0
        self._failures: dict[str, str] = {}  # what failed, to its first line

    @property
    def tally(self) -> Tally:
        """What has passed so far."""
        first = next(iter(self._failures.values()), "")
        return Tally(messages=self._messages, replies=self._replies, errors=self._errors, first_error=first)

    def set_run(self, run: Run) -> None:
        """Take the run that messages belong to."""
        self._grid.set_run(run)

    @property
    def run(self) -> Run:
        """The run that messages belong to."""
        return self._grid.run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Make a message; ``Message(...)`` does the same."""
        return self._grid.create_message(content, message_type, dst_node_id, group_id, ttl)

    def get_node_ids(self) -> list[int]:
        """Return every node; an app that seems to wait for more of them than there will ever be is told so."""
        with self._lock:
            self._looks += 1
            if self._looks == _LOOKS_WHILE_WAITING:
                _LOG.warning(
                    "the app looks at the nodes again and again and sends nothing: if it waits for more than the %d of "
                    "this run, start it again with a higher --num-supernodes",
                    self._num_supernodes,
                )
        return self._grid.get_node_ids()

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Send messages."""
        sent = self._grid.push_messages(messages)
        self._count_messages(len(sent))
        return sent

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """Return those replies that are there, without waiting."""
        return self._count_replies(self._grid.pull_messages(message_ids))

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Send messages and wait for the replies."""
        sent = list(messages)
        self._count_messages(len(sent))
        return self._count_replies(self._grid.send_and_receive(sent, timeout=timeout))

    def _count_messages(self, number: int) -> None:
        with self._lock:
            self._messages += number
            self._looks = 0

    def _count_replies(self, replies: list[Message]) -> list[Message]:
        with self._lock:
            self._replies += len(replies)
            for reply in replies:
                if reply.has_error():
                    self._errors += 1
                    self._note_failure(reply)
        return replies

    def _note_failure(self, reply: Message) -> None:
        reason = reply.error.reason or f"error {reply.error.code}"
        index = self._grid.index_of(reply.metadata.src_node_id)
        if reason not in self._failures and len(self._failures) < _MAX_LOGGED_FAILURES:
            line = reason.partition("\n")[0]
            self._failures[reason] = f"{reply.metadata.message_type} on client {index}: {line}"
            _LOG.warning("%s failed on client %d: %s", reply.metadata.message_type, index, reason.rstrip())
