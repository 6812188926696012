"""The resident SuperNode's loop: join, pull a message, let the app work, push the reply, for ever."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from flwr.app import Message

from client.supernode.apps import Desk, Prepared
from client.supernode.backoff import Poll
from client.supernode.fleet_api import FleetApi
from client.supernode.flwr_compat import (
    CLIENT_APP_CRASHED,
    CLIENT_APP_RAISED,
    LOAD_CLIENT_APP,
    AppNotLoaded,
    FleetError,
    NodeUnknown,
    Received,
    Refused,
    RunOver,
    Unreachable,
    error_reply,
    identify_process,
)
from client.supernode.heartbeat import INTERVAL_S, beating
from client.supernode.memory import MAX_STARTS, InHand, Memory
from client.supernode.persistence import Persistence, Stopped
from client.supernode.transfer import Transfer

_log = logging.getLogger(__name__)
_MAX_REASON = 500  # characters of an exception that are sent to the server


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeOptions:
    """How a node behaves towards its SuperLink."""

    address: str  # for the log
    registers_itself: bool = True  # False where only the server's operator registers nodes
    is_lasting: bool = False  # its key outlives the process: it stays registered when it goes
    heartbeat_s: float = INTERVAL_S
    max_wait_s: float | None = None  # without a connection; None is for ever


class ResidentNode:
    """One node and its work."""

    def __init__(
        self,
        fleet: FleetApi,
        desk: Desk,
        memory: Memory,
        options: NodeOptions,
        *,
        rng: random.Random,
        is_stopped: Callable[[float], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Wire a node; nothing is sent before ``run``.

        Args:
            fleet: The SuperLink.
            desk: The apps.
            memory: What outlives the process.
            options: How to behave.
            rng: Where the jitter comes from.
            is_stopped: Waits so many seconds and tells whether the node is to end, as ``threading.Event.wait``.
            clock: Seconds.
        """
        self._fleet = fleet
        self._desk = desk
        self._memory = memory
        self._options = options
        self._clock = clock
        self._persist = Persistence(options.address, options.max_wait_s, rng=rng, is_stopped=is_stopped, clock=clock)
        self._transfer = Transfer(fleet, self._persist)

    def run(self) -> None:
        """Work until ``Stopped`` is raised, which leaves the federation first.

        Raises:
            GaveUp: There was no connection for ``max_wait_s``.
        """
        try:
            while True:
                node_id = self._persist(self._join)
                self._persist.has_joined = True
                _log.info("node %d is online at %s", node_id, self._options.address)
                try:
                    self._serve(node_id)
                except NodeUnknown:
                    _log.warning("%s does not know this node any more; joining again", self._options.address)
        except Stopped:
            self._leave()
            raise
        finally:
            self._transfer.close()

    def _join(self) -> int:
        """Come online under the id of before where there is one: what waits there for us then still finds us.

        Raises:
            Unreachable: Nobody answers, or the answer is no: an operator may change that any time.
        """
        try:
            if (known := self._memory.node_id) is not None:
                try:
                    self._fleet.heartbeat(known, self._options.heartbeat_s)
                    return known
                except NodeUnknown:
                    pass
            node_id = self._activate()
        except (Refused, NodeUnknown) as error:
            raise Unreachable(f"it refuses this node: {error}") from error
        self._memory.remember_node(node_id)
        return node_id

    def _activate(self) -> int:
        try:
            return self._fleet.activate(self._options.heartbeat_s)
        except Refused:
            if not self._options.registers_itself:
                raise
        self._fleet.register()
        return self._fleet.activate(self._options.heartbeat_s)

    def _leave(self) -> None:
        """Go offline, if anybody listens: requests on their way to us are then answered with an error at once."""
        if (node_id := self._memory.node_id) is None:
            return
        try:
            self._fleet.deactivate(node_id)
            if self._options.registers_itself and not self._options.is_lasting:
                self._fleet.unregister(node_id)
        except FleetError:
            return

    def _serve(self, node_id: int) -> None:
        poll = Poll()
        with beating(lambda: self._fleet.heartbeat(node_id, self._options.heartbeat_s)) as beats:
            self._take_up_again(node_id)
            while True:
                if beats.is_lost:
                    raise NodeUnknown
                received = self._persist(lambda: self._fleet.pull(node_id))
                if received is None:
                    self._persist.sleep(poll.pause())
                    continue
                self._answer(InHand(node_id=node_id, starts=1, received=received))
                poll.found()

    def _take_up_again(self, node_id: int) -> None:
        """Answer the message that a process before this one was working on."""
        before = self._memory.taken()
        if before is None:
            return
        if before.node_id != node_id:  # it was addressed to a node that is no more
            self._memory.done()
            return
        _log.warning("taking up again the message that was being worked on when this node ended")
        self._answer(InHand(node_id=node_id, starts=before.starts + 1, received=before.received))

    def _answer(self, in_hand: InHand) -> None:
        """Work on a message and send the reply; one bad message is an error reply and no more."""
        self._memory.take(in_hand)
        node_id, received = in_hand.node_id, in_hand.received
        identify_process(received.run_id, node_id)
        start = self._clock()
        try:
            reply, seconds = self._reply(in_hand)
            worked = self._clock()
            self._transfer.push(node_id, reply, seconds)
            self._persist(lambda: self._fleet.confirm(node_id, received))
        except RunOver:
            _log.info("run %d is over; its message is dropped", received.run_id)
        except Refused as error:
            _log.warning("the reply to message %s was refused: %s", received.message_id[:12], error)
        else:
            kind = received.message.metadata.message_type
            sent = self._clock() - worked
            _log.info(
                "%s answered: %.3f s in all, app %.3f s, reply %.3f s", kind, self._clock() - start, seconds, sent
            )
        self._memory.done()

    def _reply(self, in_hand: InHand) -> tuple[Message, float]:
        """Return the reply and how long the app took for it."""
        node_id, received = in_hand.node_id, in_hand.received
        if in_hand.starts > MAX_STARTS:
            return error_reply(received, CLIENT_APP_CRASHED, "the node ended twice at work on this message"), 0.0
        try:
            prepared = self._desk.find(node_id, received.run_id) or self._prepare(node_id, received.run_id)
            message = self._transfer.pull(node_id, received)
        except AppNotLoaded as error:
            _log.exception("the ClientApp cannot be loaded")
            return error_reply(received, LOAD_CLIENT_APP, str(error)[:_MAX_REASON]), 0.0
        except FleetError as error:
            if isinstance(error, RunOver | NodeUnknown):
                raise
            _log.warning("a message did not arrive: %s", error)
            return error_reply(received, CLIENT_APP_RAISED, f"the message did not arrive: {error}"), 0.0
        start = self._clock()
        return self._work(prepared, received, message), self._clock() - start

    def _work(self, prepared: Prepared, received: Received, message: Message) -> Message:
        """Let the app work; whatever it raises is its error reply, as on a stock SuperNode."""
        try:
            reply: object = prepared.app(message, prepared.context)
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001 - anybody's code
            _log.exception("the ClientApp raised an exception")
            reason = f"{type(error)}:<'{error}'>"  # a stock SuperNode's form
            return error_reply(received, CLIENT_APP_RAISED, reason[:_MAX_REASON])
        if isinstance(reply, Message):
            return reply
        return error_reply(received, CLIENT_APP_RAISED, f"the ClientApp returned a {type(reply).__name__}")

    def _prepare(self, node_id: int, run_id: int) -> Prepared:
        run = self._persist(lambda: self._fleet.run(node_id, run_id))
        fab = self._persist(lambda: self._fleet.fab(node_id, run))
        _log.info("run %d: %s %s", run_id, run.fab_id, run.fab_version)
        return self._desk.prepare(node_id, run, fab)
