"""Calls that are made until they are answered."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

from client.supernode.backoff import Backoff
from client.supernode.flwr_compat import FleetError, Unreachable, Untrusted
from shared.errors import ConstellationError

_log = logging.getLogger(__name__)
T = TypeVar("T")


class Stopped(BaseException):
    """Whoever runs this node wants it to end; no app's ``except Exception`` keeps it from that."""


class GaveUp(ConstellationError):
    """The SuperLink could not be joined for as long as was allowed."""


class Persistence:
    """Makes calls to one SuperLink until there is an answer, for ever or for as long as was allowed."""

    def __init__(
        self,
        address: str,
        max_wait_s: float | None,
        *,
        rng: random.Random,
        is_stopped: Callable[[float], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Keep what is needed.

        Args:
            address: Of the SuperLink, for the log.
            max_wait_s: Without an answer; None is for ever.
            rng: Where the jitter comes from.
            is_stopped: Waits so many seconds and tells whether the node is to end, as ``threading.Event.wait``.
            clock: Seconds.
        """
        self._address = address
        self._max_wait_s = max_wait_s
        self._rng = rng
        self._is_stopped = is_stopped
        self._clock = clock
        self.has_joined = False  # the SuperLink has proved to be the right one

    def backoff(self) -> Backoff:
        """Return pauses that grow."""
        return Backoff(rng=self._rng)

    def __call__(self, call: Callable[[], T]) -> T:
        """Make a call until there is an answer.

        The log has a line for what keeps it from working, not one for each attempt, and none for a connection that the
        server closed while it was idle.

        Raises:
            GaveUp: There was none for ``max_wait_s``, or whoever answers is not the server this node was told of.
        """
        backoff = self.backoff()
        start, attempts, said = self._clock(), 0, ""
        while True:
            try:
                answer = call()
            except (Unreachable, Untrusted) as error:
                attempts += 1
                self._give_up_or_go_on(error, self._clock() - start)
                if attempts > 1 and (reason := str(error)) != said:
                    _log.warning("%s: %s; trying again until it works", self._address, reason)
                    said = reason
                self.sleep(backoff.pause())
            else:
                if said:
                    _log.info("%s answers again after %.0f s", self._address, self._clock() - start)
                return answer

    def _give_up_or_go_on(self, error: FleetError, waited_s: float) -> None:
        """Give up a server that was never the right one, or that was not there for too long.

        A server that was the right one before may be so again: its certificate is being exchanged, or somebody stands
        between for a while, whom nothing is sent to.
        """
        if isinstance(error, Untrusted) and not self.has_joined:
            raise GaveUp(
                f"{self._address} cannot prove that it is the server of this federation ({error}); check the address, "
                "and that the root certificates are this server's"
            ) from error
        if self._max_wait_s is not None and waited_s > self._max_wait_s:
            raise GaveUp(f"no connection to {self._address} for {waited_s:.0f} s: {error}") from error

    def sleep(self, seconds: float) -> None:
        """Wait.

        Raises:
            Stopped: The node is to end.
        """
        if self._is_stopped(seconds):
            raise Stopped
