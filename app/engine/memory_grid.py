"""A grid without processes: a function answers messages, at times on a clock that the caller moves. For tests."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from app.engine import flwr_compat

# Answers a request: the reply and the seconds it takes; None means no reply ever comes.
Answer = Callable[[Message], tuple[Message, float] | None]


class MemoryClock:
    """A clock that moves when somebody sleeps."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.seconds

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.seconds += seconds


class MemoryGrid(Grid):
    """Flower's Grid in memory."""

    def __init__(self, nodes: Sequence[int], answer: Answer, clock: MemoryClock, run_id: int = 1) -> None:
        flwr_compat.identify_process(run_id, flwr_compat.SERVER_NODE_ID)
        self.nodes = list(nodes)
        self.sent: list[Message] = []
        self._answer = answer
        self._clock = clock
        self._ids = itertools.count(1)
        self._replies: dict[str, tuple[float, Message]] = {}
        self._run = flwr_compat.empty_run(run_id)

    def set_run(self, run: flwr_compat.Run) -> None:
        """Take the run."""
        self._run = run

    @property
    def run(self) -> flwr_compat.Run:
        """The run."""
        return self._run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Make a message."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> list[int]:
        """Return the nodes."""
        return list(self.nodes)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Take messages; each is answered at once, for the time it says."""
        ids = []
        for message in messages:
            message_id = f"m{next(self._ids)}"
            flwr_compat.assign_message_id(message, message_id)
            self.sent.append(message)
            ids.append(message_id)
            answer = self._answer(message)
            if answer is not None:
                self._replies[message_id] = (self._clock() + answer[1], answer[0])
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """Return the replies that are there by now."""
        due = [key for key in message_ids if key in self._replies and self._replies[key][0] <= self._clock()]
        return [self._replies.pop(key)[1] for key in sorted(due, key=lambda key: self._replies[key][0])]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Send messages and let the time pass that their replies take."""
        ids = self.push_messages(messages)
        deadline = self._clock() + (float("inf") if timeout is None else timeout)
        self._clock.seconds = min(
            deadline, max((self._replies[key][0] for key in ids if key in self._replies), default=0)
        )
        return self.pull_messages(ids)
