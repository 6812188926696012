"""One exchange with the clients: requests out, replies in as they come, until the phase is over."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from flwr.app import Message
from flwr.serverapp import Grid

from app.engine.collecting import Collection
from app.engine.control import Control, Desired
from app.engine.polling import Backoff
from shared.errors import RunFailed
from shared.events import Event, PhaseStarted, UpdateLate, UpdateReceived

_WAIT_STEP_S = 0.2  # how often control is asked while a phase collects
_FIRST_POLL_S, _LONGEST_POLL_S = 0.05, 0.8  # between looks at a grid that cannot wait, as a SuperLink's

Emit = Callable[[Event], None]


class StopRequested(Exception):
    """Whoever steers the run wants it to stop; the round that is open is abandoned."""


@runtime_checkable
class WaitingGrid(Protocol):
    """A grid that can wait for replies, cancel requests and knows how long a client computed."""

    def wait_messages(self, message_ids: Iterable[str], timeout_s: float) -> Sequence[Message]:
        """Return those replies that are there, waiting up to ``timeout_s`` for the first."""

    def cancel(self, message_ids: Iterable[str]) -> None:
        """Forget requests that nobody answered."""

    def timing_of(self, reply: Message) -> ReplyFacts | None:
        """Return what is known of a reply beside its content."""


class ReplyFacts(Protocol):
    """What a grid measured."""

    @property
    def compute_seconds(self) -> float | None:
        """Seconds in the client's process; None where they are not told."""

    @property
    def num_bytes(self) -> int:
        """Bytes of the reply."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """What is asked of the clients, and when it is over."""

    server_round: int
    name: str  # "train", "evaluate", or a stage's
    timeout_s: float
    quorum: float  # share of the asked clients whose accepted replies end the phase


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What came back."""

    replies: Sequence[Message]  # in order of arrival
    accepted: Sequence[Message]  # those of them that passed the check on arrival
    num_late: int
    seconds: float

    @property
    def num_accepted(self) -> int:
        """How many replies passed the check on arrival."""
        return len(self.accepted)


class Exchange:
    """Sends a phase's requests and collects the replies, asking ``control`` meanwhile."""

    def __init__(
        self,
        *,
        grid: Grid,
        control: Control,
        emit: Emit,
        client_of: Callable[[int], str],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.grid = grid
        self._control = control
        self._emit = emit
        self._client_of = client_of
        self._waiting_grid = grid if isinstance(grid, WaitingGrid) else None  # asked once: the answer is dear
        self._clock = clock
        self._sleep = sleep

    def run(self, phase: Phase, messages: Sequence[Message], is_accepted: Callable[[Message], bool]) -> Collected:
        """Run one phase.

        Args:
            phase: Its name and limits.
            messages: The requests, one a client.
            is_accepted: Checks a reply the moment it arrives.

        Raises:
            StopRequested: The run was asked to stop; open requests are cancelled.
            RunFailed: The requests cannot be sent.
        """
        start = self._clock()
        nodes = [message.metadata.dst_node_id for message in messages]
        clients = [self._client_of(node) for node in nodes]
        self._emit(PhaseStarted(server_round=phase.server_round, phase=phase.name, clients=clients))
        expected = self._push(phase, messages)
        enough = max(1, math.ceil(round(phase.quorum * len(nodes), 9)))  # 0.55 of 100 are 55, not 56
        collection = Collection(expected=expected, deadline=start + phase.timeout_s, enough=enough)
        try:
            replies, accepted = self._collect(phase, collection, start, is_accepted)
        except BaseException:
            self._cancel(collection)
            raise
        late = self._give_up(phase, collection, start) + len(nodes) - len(expected)
        seconds = self._clock() - start
        return Collected(replies=replies, accepted=accepted, num_late=late, seconds=seconds)

    def _push(self, phase: Phase, messages: Sequence[Message]) -> dict[str, int]:
        """Send the requests; returns the node that each one's reply comes from. A node that is gone is late at once."""
        ids: list[str | None] = list(self.grid.push_messages(messages)) if messages else []
        if len(ids) != len(messages):  # a SuperLink that takes no bodies of this size answers with none
            raise RunFailed(
                f"the SuperLink refused the {phase.name} requests of round {phase.server_round}; see its log"
            )
        expected: dict[str, int] = {}
        for message_id, message in zip(ids, messages, strict=True):
            node_id = message.metadata.dst_node_id
            if message_id:
                expected[message_id] = node_id
            else:
                client = self._client_of(node_id)
                self._emit(UpdateLate(server_round=phase.server_round, phase=phase.name, client=client, seconds=0.0))
        return expected

    def _collect(
        self, phase: Phase, collection: Collection, start: float, is_accepted: Callable[[Message], bool]
    ) -> tuple[list[Message], list[Message]]:
        replies: list[Message] = []
        accepted: list[Message] = []
        backoff = Backoff(first_s=_FIRST_POLL_S, longest_s=_LONGEST_POLL_S)
        while not collection.is_over(self._clock()):
            if self._control.desired() is Desired.STOP:
                raise StopRequested
            for reply in self._wait(collection, backoff):
                if collection.accepted >= collection.enough:
                    break  # what came at the same moment is as late as what comes next
                message_id = reply.metadata.reply_to_message_id
                self._report(phase, reply, collection.expected.get(message_id, 0), self._clock() - start)
                is_good = is_accepted(reply)
                if collection.add(message_id, is_accepted=is_good):
                    replies.append(reply)
                    accepted += [reply] * is_good
        return replies, accepted

    def _wait(self, collection: Collection, backoff: Backoff) -> Iterable[Message]:
        seconds_left = collection.seconds_left(self._clock())
        if self._waiting_grid is not None:
            return self._waiting_grid.wait_messages(collection.missing, min(_WAIT_STEP_S, seconds_left))
        found = list(self.grid.pull_messages(collection.missing))
        if found:
            backoff.found()
        else:
            self._sleep(min(backoff.pause(), seconds_left))
        return found

    def _report(self, phase: Phase, reply: Message, node_id: int, seconds: float) -> None:
        facts = self._waiting_grid.timing_of(reply) if self._waiting_grid is not None else None
        self._emit(
            UpdateReceived(
                server_round=phase.server_round,
                phase=phase.name,
                client=self._client_of(node_id),
                node_id=str(reply.metadata.src_node_id),
                seconds=seconds,
                compute_seconds=facts.compute_seconds if facts else None,
                num_bytes=facts.num_bytes if facts else None,
            )
        )

    def _give_up(self, phase: Phase, collection: Collection, start: float) -> int:
        seconds = self._clock() - start
        missing = collection.missing
        for message_id in missing:
            client = self._client_of(collection.expected[message_id])
            self._emit(UpdateLate(server_round=phase.server_round, phase=phase.name, client=client, seconds=seconds))
        self._cancel(collection)
        return len(missing)

    def _cancel(self, collection: Collection) -> None:
        if collection.missing and self._waiting_grid is not None:
            self._waiting_grid.cancel(collection.missing)
