"""Flower's public ``Grid`` on this machine: persistent workers run the same ClientApp and mods as a deployment.

Memory grows with the workers and the cohort, not with the registered clients: a client is a number until it is asked,
its node config is computed then, and only a client that keeps ``context.state`` leaves a trace (its encoded records).

Any thread may call it: Flower's legacy server sends each client's message from a thread of its own.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import msgpack
from flwr.app import DEFAULT_TTL, ArrayRecord, Error, Message, RecordDict
from flwr.serverapp import Grid

from app.engine import flwr_compat
from app.engine.client_handler import CALL, MESSAGE
from app.engine.sharing import SharedRecords
from app.engine.worker_pool import Blob, Outcome, Task, WorkerPool
from shared.errors import WorkerError
from shared.records import decode_records, encode_records

NodeConfig = Mapping[str, bool | int | float | str]

_FIRST_NODE_ID = 1_000_003  # a node id is not a partition id: nobody may rely on it
_WAIT_STEP_S = 0.5  # how often a wait without a deadline looks around


@dataclass(frozen=True, slots=True, kw_only=True)
class Nodes:
    """The registered clients of a simulation."""

    count: int
    config_of: Callable[[int], NodeConfig]  # of the client with this index, from 0
    cost_of: Callable[[int], float] = lambda _: 0.0  # relative training time: the dearest start first


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyTiming:
    """What the engine knows of a reply beside its content."""

    compute_seconds: float
    num_bytes: int


class LocalGrid(Grid):
    """Sends messages to ClientApps in worker processes of this machine; a context manager."""

    def __init__(self, pool: WorkerPool, nodes: Nodes, *, run_id: int = 1) -> None:
        self._pool = pool
        self._nodes = nodes
        self._run = flwr_compat.empty_run(run_id)
        flwr_compat.identify_process(run_id, flwr_compat.SERVER_NODE_ID)
        self._changed = threading.Condition(threading.RLock())  # guards all that follows
        self._is_collecting = False  # one thread at a time waits for the workers, on behalf of all
        self._calls_made = itertools.count(1)
        self._num_sent: Counter[int] = Counter()  # messages by node index
        self._open: dict[str, Message] = {}  # message id -> request
        self._expiries: list[tuple[float, str]] = []  # heap of (monotonic second, message id with a ttl)
        self._replies: dict[str, Message] = {}  # message id -> reply, not yet pulled
        self._calls: dict[str, Outcome | None] = {}
        self._timings: WeakKeyDictionary[Message, ReplyTiming] = WeakKeyDictionary()  # as long as the reply lives
        self._states: dict[int, bytes] = {}  # node id -> encoded context.state, only where there is one
        self._changed_states: set[int] = set()
        self._shared = SharedRecords()

    def __enter__(self) -> LocalGrid:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the workers at once."""
        self._pool.close()

    def worker_pids(self) -> list[int]:
        """Return the process numbers of the workers, each worker's always at its place."""
        return self._pool.pids

    # Flower's Grid

    def set_run(self, run: flwr_compat.Run) -> None:
        """Take the run that messages belong to."""
        self._run = run
        flwr_compat.identify_process(run.run_id, flwr_compat.SERVER_NODE_ID)

    @property
    def run(self) -> flwr_compat.Run:
        """The run that messages belong to."""
        return self._run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Make a message; ``Message(...)`` does the same."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> list[int]:
        """Return every registered node, in a fixed order."""
        return list(range(_FIRST_NODE_ID, _FIRST_NODE_ID + self._nodes.count))

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Queue messages; a node that is not registered answers with an error at once.

        A message's id counts the messages to its node, so that it does not depend on the order in which threads send.
        """
        tasks: list[Task] = []
        ids: list[str] = []
        with self._changed:
            for message in messages:
                index = self.index_of(message.metadata.dst_node_id)
                self._num_sent[index] += 1
                message_id = f"{self._run.run_id}-{index}-{self._num_sent[index]}"
                flwr_compat.assign_message_id(message, message_id)
                ids.append(message_id)
                if 0 <= index < self._nodes.count:
                    self._open[message_id] = message
                    self._note_expiry(message)
                    tasks.append(self._task(message_id, message, index))
                else:
                    reason = f"node {message.metadata.dst_node_id} is not registered"
                    self._replies[message_id] = Message(Error(flwr_compat.NODE_UNAVAILABLE, reason), reply_to=message)
        self._pool.submit(tasks)
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """Return those replies that are there, each once, without waiting."""
        return self.wait_messages(message_ids, 0.0)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Send messages and wait for the replies; those that are missing after ``timeout`` seconds are cancelled.

        Returns:
            The replies in the order in which the messages were sent: sums over them do not depend on timing.
        """
        sent = self.push_messages(messages)
        waiting = dict.fromkeys(sent)
        deadline = None if timeout is None else time.monotonic() + timeout
        replies: dict[str, Message] = {}
        while waiting:
            left = _WAIT_STEP_S if deadline is None else deadline - time.monotonic()
            if left <= 0:
                self.cancel(waiting)
                break
            for reply in self.wait_messages(waiting, min(left, _WAIT_STEP_S)):
                message_id = reply.metadata.reply_to_message_id
                waiting.pop(message_id)
                replies[message_id] = reply
        return [replies[message_id] for message_id in sent if message_id in replies]

    # Beyond Flower's Grid: what the round loop uses where it is offered

    def wait_messages(self, message_ids: Iterable[str], timeout_s: float) -> list[Message]:
        """Return those replies that are there, waiting up to ``timeout_s`` for the first."""
        wanted = message_ids if isinstance(message_ids, Mapping) else dict.fromkeys(message_ids)
        self._collect(wanted, timeout_s)
        with self._changed:  # in order of arrival; there are few of them, but wanted may be all of a large cohort
            return [self._replies.pop(message_id) for message_id in list(self._replies) if message_id in wanted]

    def cancel(self, message_ids: Iterable[str]) -> None:
        """Forget messages: those that wait are dropped, the answers of those that run are thrown away."""
        forgotten = list(message_ids)
        self._pool.cancel(forgotten)
        with self._changed:
            for message_id in forgotten:
                self._open.pop(message_id, None)
                self._replies.pop(message_id, None)

    def timing_of(self, reply: Message) -> ReplyTiming | None:
        """Return what the engine measured for a reply."""
        return self._timings.get(reply)

    def index_of(self, node_id: int) -> int:
        """Return the index of a registered node, or a number out of range."""
        return node_id - _FIRST_NODE_ID

    def call_workers(self, name: str, arguments: Sequence[bytes], payload: RecordDict) -> list[bytes]:
        """Run a named function of the workers on each of ``arguments``, all with the same payload.

        Raises:
            WorkerError: The function raised, or its worker died.
        """
        blob = Blob(encode_records(payload))
        tickets = [f"call-{next(self._calls_made)}" for _ in arguments]
        self._calls.update(dict.fromkeys(tickets))
        self._pool.submit(
            [
                Task(ticket=ticket, kind=CALL, head=msgpack.packb((name, argument)), blobs=(blob,))
                for ticket, argument in zip(tickets, arguments, strict=True)
            ]
        )
        while any(self._calls[ticket] is None for ticket in tickets):
            self._collect((), _WAIT_STEP_S)
        return [_call_result(name, self._calls.pop(ticket)) for ticket in tickets]

    # Client states, for checkpoints

    def take_changed_states(self) -> dict[int, bytes]:
        """Return the encoded states that changed since the last call, by node index."""
        changed = {self.index_of(node_id): self._states[node_id] for node_id in sorted(self._changed_states)}
        self._changed_states.clear()
        return changed

    def restore_states(self, states: Mapping[int, bytes]) -> None:
        """Put the states of a checkpoint in place, by node index."""
        self._states = {_FIRST_NODE_ID + index: state for index, state in states.items()}
        self._changed_states.clear()

    def _task(self, message_id: str, message: Message, index: int) -> Task:
        own = RecordDict()
        names: list[tuple[str, int]] = []
        blobs: list[Blob] = []
        for name, record in message.content.items():
            blob = self._shared.blob_of(record) if isinstance(record, ArrayRecord) else None
            if blob is not None:
                names.append((name, len(blobs)))
                blobs.append(blob)
            else:
                names.append((name, -1))
                own[name] = record
        state = self._states.get(message.metadata.dst_node_id, b"")
        fields = flwr_compat.metadata_fields(message)
        config = dict(self._nodes.config_of(index))
        head = msgpack.packb((fields, config, names, encode_records(own), state))
        return Task(ticket=message_id, kind=MESSAGE, head=head, blobs=blobs, cost=self._nodes.cost_of(index))

    def _collect(self, wanted: Container[str], timeout_s: float) -> None:
        """Take in what the workers have answered, waiting up to ``timeout_s`` unless a wanted reply is there."""
        with self._changed:
            self._expire()
            if any(message_id in wanted for message_id in self._replies):
                timeout_s = 0.0
            elif self._expiries:
                timeout_s = max(0.0, min(timeout_s, self._expiries[0][0] - time.monotonic()))
            if self._is_collecting:
                self._changed.wait(timeout_s)
                return
            self._is_collecting = True
        outcomes: list[Outcome] = []
        try:
            outcomes = self._pool.wait(timeout_s)
        finally:
            with self._changed:
                self._is_collecting = False
                for outcome in outcomes:
                    self._take(outcome)
                self._expire()
                self._changed.notify_all()

    def _take(self, outcome: Outcome) -> None:
        if outcome.ticket in self._calls:
            self._calls[outcome.ticket] = outcome
        elif (request := self._open.pop(outcome.ticket, None)) is not None:
            self._replies[outcome.ticket] = self._reply(request, outcome)

    def _note_expiry(self, message: Message) -> None:
        ttl_s = message.metadata.ttl
        if ttl_s < DEFAULT_TTL:
            heapq.heappush(self._expiries, (time.monotonic() + ttl_s, message.metadata.message_id))

    def _expire(self) -> None:
        """Answer for messages whose time to live is over with an error, as a SuperLink does."""
        if not self._open:
            self._expiries.clear()
        while self._expiries and self._expiries[0][0] <= time.monotonic():
            _, message_id = heapq.heappop(self._expiries)
            request = self._open.pop(message_id, None)
            if request is not None:
                self._pool.cancel([message_id])
                reason = f"no reply came in the message's time to live of {request.metadata.ttl:g} s"
                self._replies[message_id] = Message(Error(flwr_compat.MESSAGE_UNAVAILABLE, reason), reply_to=request)

    def _reply(self, request: Message, outcome: Outcome) -> Message:
        if outcome.error is not None:
            code = flwr_compat.CLIENT_APP_CRASHED if outcome.is_crash else flwr_compat.CLIENT_APP_RAISED
            return Message(Error(code, outcome.error), reply_to=request)
        try:
            head, content, state = outcome.parts
            error = msgpack.unpackb(head)
            reply = Message(decode_records(content) if error is None else Error(*error), reply_to=request)
        except (ValueError, TypeError) as failure:  # it comes from a process that runs other people's code
            reason = f"the answer cannot be read: {failure}"
            return Message(Error(flwr_compat.CLIENT_APP_RAISED, reason), reply_to=request)
        if len(state):
            node_id = request.metadata.dst_node_id
            self._states[node_id] = bytes(state)
            self._changed_states.add(node_id)
        self._timings[reply] = ReplyTiming(compute_seconds=outcome.seconds, num_bytes=len(content))
        return reply


def _call_result(name: str, outcome: Outcome | None) -> bytes:
    if outcome is None or outcome.error is not None:
        raise WorkerError(f"{name} failed in a worker: {outcome.error if outcome else 'no answer'}")
    return bytes(outcome.parts[0])
