"""A SuperLink in memory: what the resident node's loop sees of a real one, and faults on demand."""

from __future__ import annotations

import io
import zipfile
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from flwr.app import Message, RecordDict
from flwr.supercore.fab import Fab
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from flwr.supercore.run import Run

from client.supernode.flwr_compat import Deflated, NodeUnknown, Received, Refused, identify_process
from client.supernode.persistence import Stopped

RUN_ID, NODE_ID = 7, 41
PYPROJECT = """
[project]
name = "app"
version = "1.0.0"
license = "Apache-2.0"
[tool.flwr.app]
publisher = "us"
[tool.flwr.app.components]
serverapp = "server:app"
clientapp = "clients:app"
[tool.flwr.app.config]
rate = 0.5
"""


def bundle(text: str = PYPROJECT) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("pyproject.toml", text)
    return buffer.getvalue()


def request(content: RecordDict, kind: str = "train") -> Message:
    identify_process(RUN_ID, 1)
    return Message(content, NODE_ID, kind)


@dataclass
class FakeFleet:
    """Holds the messages for one node, and what came back."""

    queue: deque[tuple[Received, dict[str, bytes]]] = field(default_factory=deque)
    replies: list[Message] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    pulled: list[str] = field(default_factory=list)
    confirmed: list[str] = field(default_factory=list)
    is_registered: bool = False
    is_open: bool = True  # nodes may register themselves
    faults: dict[str, deque[Exception | None]] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    on_idle: Callable[[], None] = lambda: None
    run_info: Run = field(default_factory=lambda: Run.create_empty(RUN_ID))
    bundle_bytes: bytes = field(default_factory=bundle)
    _open_reply: Deflated | None = None

    def ask(self, message: Message) -> None:
        """Queue a request as a SuperLink stores it."""
        deflated = Deflated.of(message)
        received = Received(message=message, tree=deflated.tree)
        self.objects |= deflated.contents
        self.queue.append((received, dict(deflated.contents)))

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if (planned := self.faults.get(name)) and (fault := planned.popleft()) is not None:
            raise fault

    def register(self) -> int:
        self._call("register")
        if not self.is_open:
            raise Refused("registration is disabled")
        self.is_registered = True
        return NODE_ID

    def activate(self, heartbeat_s: float) -> int:
        self._call("activate")
        if not self.is_registered:
            raise Refused("no such node")
        return NODE_ID

    def deactivate(self, node_id: int) -> None:
        self._call("deactivate")

    def unregister(self, node_id: int) -> None:
        self._call("unregister")
        self.is_registered = False

    def heartbeat(self, node_id: int, heartbeat_s: float) -> None:
        self._call("heartbeat")
        if not self.is_registered or node_id != NODE_ID:
            raise NodeUnknown("who?")

    def pull(self, node_id: int) -> Received | None:
        self._call("pull")
        if not self.queue:
            self.on_idle()
            return None
        return self.queue.popleft()[0]

    def run(self, node_id: int, run_id: int) -> Run:
        self._call("run")
        return self.run_info

    def fab(self, node_id: int, run: Run) -> Fab:
        self._call("fab")
        return Fab(run.fab_hash, self.bundle_bytes, {})

    def pull_object(self, node_id: int, run_id: int, object_id: str) -> bytes | None:
        self._call("pull_object")
        self.pulled.append(object_id)
        return self.objects[object_id]

    def confirm(self, node_id: int, received: Received) -> None:
        self._call("confirm")
        self.confirmed.append(received.message_id)

    def push(self, node_id: int, reply: Deflated, seconds: float) -> tuple[set[str], str]:
        self._call("push")
        self._open_reply = reply
        lacking = set(reply.contents) - set(self.objects)
        if not lacking:
            self._close()
        return lacking, "session"

    def push_object(self, node_id: int, run_id: int, session: str, object_id: str, content: bytes) -> bool:
        self._call("push_object")
        self.objects[object_id] = content
        if self._open_reply is not None and set(self._open_reply.contents) <= set(self.objects):
            self._close()
        return True

    def _close(self) -> None:
        assert self._open_reply is not None
        found = inflate_object_from_contents(self._open_reply.tree.object_id, dict(self._open_reply.contents))
        assert isinstance(found, Message)
        found.metadata.__dict__["_message_id"] = self._open_reply.tree.object_id
        if not any(reply.metadata.message_id == found.metadata.message_id for reply in self.replies):
            self.replies.append(found)


def stop() -> None:
    raise Stopped
