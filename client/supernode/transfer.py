"""Moves messages: fetches the objects of a request, sends those of a reply."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from flwr.app import Message

from client.supernode.backoff import Poll
from client.supernode.fleet_api import FleetApi
from client.supernode.flwr_compat import Deflated, Received, Refused, inflate
from client.supernode.persistence import Persistence

_TRANSFERS = 4  # objects on their way at a time: each is a request of its own, and most are small
_FIRST_OBJECT_S, _LONGEST_OBJECT_S = 0.02, 0.5  # between looks for an object that its sender has not sent yet
_MAX_CACHED_BYTES = 128 * 2**20  # of the last message's objects: the next round's model is this round's evaluated one


class Transfer:
    """Moves the messages of one node, several objects at a time."""

    def __init__(self, fleet: FleetApi, persist: Persistence) -> None:
        self._fleet = fleet
        self._persist = persist
        self._cache: dict[str, bytes] = {}
        self._pool = ThreadPoolExecutor(_TRANSFERS, thread_name_prefix="objects")

    def close(self) -> None:
        """Take no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def pull(self, node_id: int, received: Received) -> Message:
        """Fetch those objects that the last message did not bring, and make a message of them.

        Raises:
            Refused: They are no message.
        """
        wanted = received.object_ids
        missing = [object_id for object_id in dict.fromkeys(wanted) if object_id not in self._cache]
        fetched = self._pool.map(lambda object_id: self._pull_object(node_id, received.run_id, object_id), missing)
        contents = {object_id: self._cache[object_id] for object_id in wanted if object_id in self._cache}
        contents.update(zip(missing, fetched, strict=True))
        self._cache = contents if sum(map(len, contents.values())) <= _MAX_CACHED_BYTES else {}
        try:
            return inflate(received, contents)
        except Exception as error:  # bytes from elsewhere fail in as many ways as there are decoders
            raise Refused(f"its bytes are no message ({type(error).__name__}: {error})") from error

    def _pull_object(self, node_id: int, run_id: int, object_id: str) -> bytes:
        """Fetch an object, waiting while its sender is still at it."""
        poll = Poll(first_s=_FIRST_OBJECT_S, longest_s=_LONGEST_OBJECT_S)
        while (content := self._persist(lambda: self._fleet.pull_object(node_id, run_id, object_id))) is None:
            self._persist.sleep(poll.pause())
        return content

    def push(self, node_id: int, reply: Message, seconds: float) -> None:
        """Send a reply with its objects until the SuperLink has them all.

        What it lacks is asked anew as long as an object was not taken: its session may have ended, or the answer to
        an earlier attempt was lost on the way.
        """
        deflated = Deflated.of(reply)
        backoff = self._persist.backoff()
        while True:
            lacking, session = self._persist(lambda: self._fleet.push(node_id, deflated, seconds))
            if unknown := lacking - deflated.contents.keys():
                raise Refused(f"the SuperLink asks for {len(unknown)} objects that the reply does not have")

            def send(object_id: str, session: str = session) -> bool:
                content = deflated.contents[object_id]
                return self._persist(
                    lambda: self._fleet.push_object(node_id, deflated.run_id, session, object_id, content)
                )

            if all(self._pool.map(send, [object_id for object_id in deflated.contents if object_id in lacking])):
                return
            self._persist.sleep(backoff.pause())
