"""Messages of objects, and objects of messages, as Flower's wire has them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flwr.app import Error, Message
from flwr.app.message import remove_content_from_message
from flwr.common.constant import ErrorCode
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.proto.message_pb2 import ObjectTree
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    iterate_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from flwr.supercore.task_identity import TaskIdentity
from google.protobuf.message import DecodeError

CLIENT_APP_RAISED = ErrorCode.CLIENT_APP_RAISED_EXCEPTION
LOAD_CLIENT_APP = ErrorCode.LOAD_CLIENT_APP_EXCEPTION
CLIENT_APP_CRASHED = ErrorCode.CLIENT_APP_CRASHED


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A message as it is pulled: what it is about, and which objects it is made of."""

    message: Message  # without its content
    tree: ObjectTree

    @property
    def run_id(self) -> int:
        """The run it belongs to."""
        return int(self.message.metadata.run_id)

    @property
    def message_id(self) -> str:
        """Its id: the digest of its outermost object."""
        return str(self.message.metadata.message_id)

    @property
    def object_ids(self) -> list[str]:
        """All objects it is made of, children first."""
        return [part.object_id for part in iterate_object_tree(self.tree)]

    def to_json(self) -> str:
        """Write it down, to be read again by ``from_json`` in another process."""
        message = message_to_proto(self.message).SerializeToString().hex()
        return json.dumps({"message": message, "tree": self.tree.SerializeToString().hex()})

    @classmethod
    def from_json(cls, text: str) -> Received:
        """Read what ``to_json`` wrote.

        Raises:
            ValueError: It is something else.
        """
        try:
            found = json.loads(text)
            message, tree = ProtoMessage(), ObjectTree()
            message.ParseFromString(bytes.fromhex(found["message"]))
            tree.ParseFromString(bytes.fromhex(found["tree"]))
            return cls(message=message_from_proto(message), tree=tree)
        except (KeyError, TypeError, DecodeError) as error:
            raise ValueError(f"no message: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Deflated:
    """A reply as it is sent: its head, the tree of its objects, and each object's bytes."""

    run_id: int
    proto: Any
    tree: ObjectTree
    contents: Mapping[str, bytes]  # by object id, children first

    @classmethod
    def of(cls, reply: Message) -> Deflated:
        """Take a reply apart; its id becomes the digest of what it is."""
        reply.metadata.__dict__["_message_id"] = reply.object_id
        with no_object_id_recompute():
            tree = get_object_tree(reply)
            contents = {object_id: part.deflate() for object_id, part in get_all_nested_objects(reply).items()}
        head = remove_content_from_message(reply) if reply.has_content() else reply
        return cls(run_id=int(reply.metadata.run_id), proto=message_to_proto(head), tree=tree, contents=contents)


def inflate(received: Received, contents: Mapping[str, bytes]) -> Message:
    """Make a message of its objects.

    Raises:
        ValueError: They are no message, or another run's or node's than was announced. Other exceptions come from
            Flower for bytes of other forms: a caller at a trust boundary catches them all.
    """
    message = inflate_object_from_contents(received.message_id, dict(contents))
    if not isinstance(message, Message):
        raise ValueError(f"a {type(message).__name__} came in place of a message")
    announced, found = received.message.metadata, message.metadata
    if (found.run_id, found.dst_node_id) != (announced.run_id, announced.dst_node_id):
        raise ValueError("the message is another run's or node's than was announced")
    found.__dict__["_message_id"] = received.message_id
    return message


def error_reply(received: Received, code: int, reason: str) -> Message:
    """Answer a message with an error."""
    return Message(Error(code=code, reason=reason), reply_to=received.message)


def identify_process(run_id: int, node_id: int) -> None:
    """Say whose messages this process makes: ``Message()`` takes its run and source from here."""
    TaskIdentity.run_id = run_id
    TaskIdentity.node_id = node_id
    TaskIdentity.task_id = 1
