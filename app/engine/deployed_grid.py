"""Flower's Grid to a SuperLink, quicker: looks often, hands over each reply once it is whole, and sends few objects.

Flower's looks every three seconds, waits a second for an object that is not there yet, and hands over nothing while one
reply of several is still on its way.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from app.engine.flwr_compat import (
    MESSAGE_UNAVAILABLE,
    NodeInfo,
    ObjectLost,
    ReplyHead,
    Run,
    error_in_place_of,
    http_replies_of,
)
from app.engine.polling import Backoff
from shared.crypto.signing import REQUEST_RECORD
from shared.packing import PACKED, is_packed, packed_record, unpack
from shared.records import Record, record_dict

_log = logging.getLogger("flwr")
_FIRST_POLL_S, _LONGEST_POLL_S = 0.02, 0.3
_TRANSFERS = 4  # objects on their way at a time: each is a request of its own, and most are small


class ReplySource(Protocol):
    """A SuperLink, asked for replies object by object; ``flwr_compat.HttpReplies`` over HTTP."""

    def heads(self, message_ids: Sequence[str]) -> list[ReplyHead]:
        """Return the replies to these requests that have been announced since; each is announced once."""

    def pull_object(self, object_id: str) -> bytes | None:
        """Return an object; None while it is not there yet.

        Raises:
            ObjectLost: It will never be there.
        """

    def inflate(self, head: ReplyHead, contents: Mapping[str, bytes]) -> Message:
        """Make the reply of its objects; whatever is wrong with them may be raised."""

    def confirm(self, head: ReplyHead) -> None:
        """Say that the reply has arrived whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transferred:
    """What is known of a reply beside its content."""

    compute_seconds: float | None = None  # a SuperLink does not tell
    num_bytes: int


@dataclass(slots=True, kw_only=True, eq=False)
class _Arriving:
    """A reply that was announced, with those of its objects that are here."""

    head: ReplyHead
    contents: dict[str, bytes] = field(default_factory=dict)
    lost: str = ""  # why it will never be whole

    @property
    def missing(self) -> list[str]:
        return [object_id for object_id in self.head.object_ids if object_id not in self.contents]

    @property
    def is_settled(self) -> bool:
        return bool(self.lost) or len(self.contents) == len(self.head.object_ids)


class DeployedGrid(Grid):
    """Wraps Flower's Grid; satisfies the round loop's ``WaitingGrid``."""

    def __init__(
        self,
        grid: Grid,
        source: ReplySource,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Wrap a grid.

        Args:
            grid: Flower's own, for all that is not about replies.
            source: The same SuperLink, asked for replies object by object.
            clock: Seconds.
            sleep: Waits so many seconds.
        """
        self._grid = grid
        self._source = source
        self._clock = clock
        self._sleep = sleep
        self._pool = ThreadPoolExecutor(_TRANSFERS, thread_name_prefix="objects")
        self._arriving: dict[str, _Arriving] = {}  # by the request's id
        self._backoff = Backoff(first_s=_FIRST_POLL_S, longest_s=_LONGEST_POLL_S)
        self._timings: dict[str, Transferred] = {}  # by the reply's id, until they are asked for
        self._packed: tuple[dict[str, object], Record] | None = None

    def set_run(self, run: Run) -> None:
        """Set the run."""
        self._grid.set_run(run)

    @property
    def run(self) -> Run:
        """Flower's facts of the run."""
        return self._grid.run

    def create_message(  # noqa: D102 - Flower's own
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        return self._grid.create_message(content, message_type, dst_node_id, group_id, ttl)

    def get_node_ids(self) -> Iterable[int]:
        """Return the ids of the nodes that are online."""
        return self._grid.get_node_ids()

    def get_nodes(self) -> Iterable[NodeInfo]:
        """Return what is known of the nodes that are online."""
        return self._grid.get_nodes()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send messages; what many of them share is packed, hashed and sent once."""
        packed = list(messages)
        for message in packed:
            message.content = self._pack(message.content)
        self._packed = None  # of this phase: the next one has another model
        self._backoff.found()
        return self._grid.push_messages(packed)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return those replies that are whole, without waiting."""
        return self._look(list(message_ids))

    def wait_messages(self, message_ids: Iterable[str], timeout_s: float) -> Sequence[Message]:
        """Return those replies that are whole, waiting up to ``timeout_s`` for the first."""
        wanted = list(message_ids)
        end = self._clock() + timeout_s
        while True:
            if found := self._look(wanted):
                self._backoff.found()
                return found
            left = end - self._clock()
            if left <= 0:
                return []
            self._sleep(min(self._backoff.pause(), left))

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Send messages and return all replies, or those that came within ``timeout`` seconds."""
        missing = set(self.push_messages(messages))
        end = float("inf") if timeout is None else self._clock() + timeout
        replies: list[Message] = []
        while missing and (left := end - self._clock()) > 0:
            found = self.wait_messages(missing, min(left, _LONGEST_POLL_S))
            missing -= {reply.metadata.reply_to_message_id for reply in found}
            replies += found
        return replies

    def cancel(self, message_ids: Iterable[str]) -> None:
        """Forget what has arrived of replies that nobody waits for any more; a SuperLink forgets the rest by itself."""
        for message_id in list(message_ids):
            self._arriving.pop(message_id, None)

    def timing_of(self, reply: Message) -> Transferred | None:
        """Return what is known of a reply, once."""
        return self._timings.pop(reply.metadata.message_id, None)

    def close(self) -> None:
        """Fetch no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _look(self, message_ids: list[str]) -> list[Message]:
        """Ask once for what is missing and return the replies that are whole now."""
        unannounced = [message_id for message_id in message_ids if message_id not in self._arriving]
        if unannounced:
            for head in self._source.heads(unannounced):
                self._arriving[head.reply_to] = _Arriving(head=head)
        wanted = [self._arriving[message_id] for message_id in message_ids if message_id in self._arriving]
        pulls = [(arriving, object_id) for arriving in wanted for object_id in arriving.missing]
        for (arriving, object_id), content in zip(pulls, self._pool.map(self._pull, pulls), strict=True):
            if content is not None:
                arriving.contents[object_id] = content
        whole = [arriving for arriving in wanted if arriving.is_settled]
        for arriving in whole:
            del self._arriving[arriving.head.reply_to]
        return [self._finish(arriving) for arriving in whole]

    def _pull(self, wanted: tuple[_Arriving, str]) -> bytes | None:
        arriving, object_id = wanted
        try:
            return self._source.pull_object(object_id)
        except ObjectLost as error:
            arriving.lost = str(error)
            return None

    def _finish(self, arriving: _Arriving) -> Message:
        """Make the reply; one that cannot be read is an error reply, and the round goes on."""
        head = arriving.head
        if arriving.lost:
            return error_in_place_of(head, MESSAGE_UNAVAILABLE, arriving.lost)
        self._source.confirm(head)
        try:
            reply = self._source.inflate(head, arriving.contents)
            if reply.has_content() and is_packed(reply.content):
                reply.content = unpack(reply.content)
        except Exception as error:  # noqa: BLE001 - bytes of a client that may lie fail in as many ways as there are decoders
            _log.warning("a reply cannot be read: %s: %s", type(error).__name__, error)
            return error_in_place_of(head, MESSAGE_UNAVAILABLE, "the reply cannot be read")
        self._timings[head.message_id] = Transferred(num_bytes=sum(map(len, arriving.contents.values())))
        return reply

    def _pack(self, records: RecordDict) -> RecordDict:
        """Pack a request; those of one phase that share their model share one record, packed and hashed once."""
        own = {name: record for name, record in records.items() if name == REQUEST_RECORD}
        rest = {name: record for name, record in records.items() if name != REQUEST_RECORD}
        facts: dict[str, object] = {name: dict(record) for name, record in rest.items()}
        if self._packed is None or not _is_same(self._packed[0], facts):
            self._packed = (facts, packed_record(record_dict(rest)))
        return record_dict({PACKED: self._packed[1], **own})


def _is_same(first: Mapping[str, object], second: Mapping[str, object]) -> bool:
    """Compare records by their values, arrays by identity: to compare what is in them would cost as much as packing."""
    return first.keys() == second.keys() and all(first[name] == second[name] for name in first)


def quick(grid: Grid) -> Grid:
    """Wrap Flower's grid to a SuperLink; any other one is left as it is."""
    replies = http_replies_of(grid)
    return DeployedGrid(grid, replies) if replies is not None else grid
