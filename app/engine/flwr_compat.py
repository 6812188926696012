"""Every private name of flwr 1.41 that the server side uses, in one place; tested against the installed version."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import click
import httpx
from flwr.app import Error, Message, RecordDict
from flwr.app.metadata import Metadata
from flwr.common import config as flwr_config
from flwr.common.constant import ErrorCode
from flwr.proto.control_pb2 import RegisterNodeRequest
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, PullObjectRequest
from flwr.proto.node_pb2 import NodeInfo as NodeInfo  # what Grid.get_nodes gives
from flwr.proto.runtime_pb2 import PullAppMessagesRequest
from flwr.server import server as legacy_server
from flwr.serverapp import Grid
from flwr.serverapp.strategy.strategy_utils import aggregate_metricrecords as aggregate_metricrecords
from flwr.serverapp.strategy.strategy_utils import (
    validate_message_reply_consistency as validate_message_reply_consistency,
)
from flwr.supercore.control import ControlHttpClient
from flwr.supercore.inflatable.inflatable_object import iterate_object_tree
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from flwr.supercore.run import Run as Run  # the type of Grid.run
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.grid import HttpGrid

CLIENT_APP_RAISED = ErrorCode.CLIENT_APP_RAISED_EXCEPTION
CLIENT_APP_CRASHED = ErrorCode.CLIENT_APP_CRASHED
MESSAGE_UNAVAILABLE = ErrorCode.MESSAGE_UNAVAILABLE
NODE_UNAVAILABLE = ErrorCode.NODE_UNAVAILABLE
LOAD_CLIENT_APP = ErrorCode.LOAD_CLIENT_APP_EXCEPTION

SERVER_NODE_ID = 1  # Flower's own node id of a SuperLink


def identify_process(run_id: int, node_id: int) -> None:
    """Say whose messages this process makes: ``Message()`` takes its run and source from here."""
    TaskIdentity.run_id = run_id
    TaskIdentity.node_id = node_id
    TaskIdentity.task_id = 1


def empty_run(run_id: int) -> Run:
    """Make the ``Run`` that ``Grid.run`` gives to apps that ask."""
    return Run.create_empty(run_id)


def assign_message_id(message: Message, message_id: str) -> None:
    """Give a message the id that a SuperLink would have given it."""
    message.metadata.__dict__["_message_id"] = message_id


def metadata_fields(message: Message) -> tuple[object, ...]:
    """Return what ``request_message`` needs to make the message again in another process."""
    meta = message.metadata
    return (meta.run_id, meta.message_id, meta.src_node_id, meta.dst_node_id, meta.group_id, meta.created_at, meta.ttl,
            meta.message_type)  # fmt: skip


def request_message(fields: tuple[object, ...], content: RecordDict) -> Message:
    """Make a request again from ``metadata_fields``."""
    run_id, message_id, source, destination, group_id, created_at, ttl, message_type = fields
    metadata = Metadata(
        run_id=run_id,  # type: ignore[arg-type]
        message_id=message_id,  # type: ignore[arg-type]
        src_node_id=source,  # type: ignore[arg-type]
        dst_node_id=destination,  # type: ignore[arg-type]
        reply_to_message_id="",
        group_id=group_id,  # type: ignore[arg-type]
        created_at=created_at,  # type: ignore[arg-type]
        ttl=ttl,  # type: ignore[arg-type]
        message_type=message_type,  # type: ignore[arg-type]
        src_task_id=1,
    )
    message: Message = Message(content=content, metadata=metadata)  # type: ignore[call-overload]
    return message


Settings = dict[str, bool | int | float | str]


def flatten_settings(nested: Mapping[str, object]) -> Settings:
    """Flatten ``[tool.flwr.app.config]`` as Flower does: ``a.b`` for nested tables.

    Raises:
        ValueError: A value is not a bool, int, float or str.
    """
    return flwr_config.flatten_dict(dict(nested))


def parse_overrides(arguments: Sequence[str]) -> Settings:
    """Read the ``-c`` arguments of ``flwr run``: ``key=value ...``, or one TOML file.

    Raises:
        ValueError: The text is not of this form.
        OSError: The TOML file cannot be read.
    """
    try:
        return flwr_config.parse_config_args(list(arguments))
    except click.ClickException as error:
        raise ValueError(error.message) from error


def complaints_about(pyproject: Mapping[str, object]) -> list[str]:
    """Return what ``flwr run`` would have to say against an app's pyproject.toml."""
    return flwr_config.validate_fields_in_config(dict(pyproject))[1]


@contextmanager
def results_in_order() -> Iterator[None]:
    """Give legacy strategies their results sorted by client, for as long as this lasts.

    Flower takes them from a set, in the order of memory addresses: float sums then differ from run to run.
    """
    fit, evaluate = legacy_server.fit_clients, legacy_server.evaluate_clients
    legacy_server.fit_clients = _sorted_by_client(fit)
    legacy_server.evaluate_clients = _sorted_by_client(evaluate)
    try:
        yield
    finally:
        legacy_server.fit_clients, legacy_server.evaluate_clients = fit, evaluate


def _sorted_by_client(ask_clients: Callable[..., tuple[list, list]]) -> Callable[..., tuple[list, list]]:  # type: ignore[type-arg]
    @functools.wraps(ask_clients)
    def ask(*args: object, **kwargs: object) -> tuple[list, list]:  # type: ignore[type-arg]
        results, failures = ask_clients(*args, **kwargs)
        return sorted(results, key=lambda result: (len(result[0].cid), result[0].cid)), failures

    return ask


class ObjectLost(Exception):
    """An object will never arrive: its sender gave up, or sent other bytes than its name says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyHead:
    """A reply that was announced: which request it answers, and the objects it is made of."""

    run_id: int
    reply_to: str
    message_id: str
    src_node_id: int
    object_ids: tuple[str, ...]  # children first


class HttpReplies:
    """The SuperLink behind Flower's own HTTP grid, asked for replies object by object."""

    def __init__(self, grid: HttpGrid) -> None:
        self._grid = grid

    @property
    def _run_id(self) -> int:
        return int(self._grid.run.run_id)

    def heads(self, message_ids: Sequence[str]) -> list[ReplyHead]:
        """Return the replies that have been announced; the SuperLink announces each once."""
        answer = self._grid._runtime_client.PullMessages(PullAppMessagesRequest(message_ids=message_ids))
        return [
            ReplyHead(
                run_id=self._run_id,
                reply_to=proto.metadata.reply_to_message_id,
                message_id=proto.metadata.message_id,
                src_node_id=proto.metadata.src_node_id,
                object_ids=tuple(dict.fromkeys(part.object_id for part in iterate_object_tree(tree))),
            )
            for proto, tree in zip(answer.messages_list, answer.message_object_trees, strict=True)
        ]

    def pull_object(self, object_id: str) -> bytes | None:
        """Return an object's bytes; None while its sender has not sent it yet.

        Raises:
            ObjectLost: There is no such object, or other bytes came than its name says.
        """
        request = PullObjectRequest(node=self._grid.node, run_id=self._run_id, object_id=object_id)
        answer = self._grid._runtime_client.PullObject(request)
        if not answer.object_found:
            raise ObjectLost("the client did not send its reply to the end")
        if not answer.object_available:
            return None
        if hashlib.sha256(answer.object_content).hexdigest() != object_id:
            raise ObjectLost("the reply came with other bytes than were announced")
        return bytes(answer.object_content)

    def inflate(self, head: ReplyHead, contents: Mapping[str, bytes]) -> Message:
        """Make the reply of its objects.

        Raises:
            ValueError: They are no message, or answer another request than was announced. Bytes of other forms raise
                other exceptions: a caller at a trust boundary catches them all.
        """
        message = inflate_object_from_contents(head.message_id, dict(contents))
        if not isinstance(message, Message):
            raise ValueError(f"a {type(message).__name__} came in place of a message")
        found = message.metadata
        if (found.reply_to_message_id, found.src_node_id) != (head.reply_to, head.src_node_id):
            raise ValueError("the reply answers another request, or is another node's, than was announced")
        found.__dict__["_message_id"] = head.message_id
        return message

    def confirm(self, head: ReplyHead) -> None:
        """Say that a reply has arrived whole: the SuperLink forgets its objects."""
        self._grid._runtime_client.ConfirmMessageReceived(
            ConfirmMessageReceivedRequest(node=self._grid.node, run_id=self._run_id, message_object_id=head.message_id)
        )


def http_replies_of(grid: Grid) -> HttpReplies | None:
    """Return the SuperLink behind a grid; None when it is another kind of grid."""
    return HttpReplies(grid) if isinstance(grid, HttpGrid) else None


def register_node(address: str, authority: bytes | None, public_key: bytes, name: str) -> str:
    """Let the node with this key (PEM) come to a SuperLink that enrolls nodes; "" or what the SuperLink has against it.

    A key that is registered already is fine.
    """
    from flwr.supercore.interceptors.http.runtime_version import RuntimeVersionHttpInterceptor

    client = ControlHttpClient.from_server_address(
        address, authority is None, authority, interceptors=[RuntimeVersionHttpInterceptor(component_name="flwr CLI")]
    )
    with client:
        try:
            client.RegisterNode(RegisterNodeRequest(public_key=public_key, name=name))
        except httpx.HTTPStatusError as error:
            text = error.response.text
            return "" if "already in use" in text.lower() else text[:300]
        except httpx.HTTPError as error:
            return str(error) or type(error).__name__
    return ""


def error_in_place_of(head: ReplyHead, code: int, reason: str) -> Message:
    """Make the error reply that stands for one which cannot be had."""
    metadata = Metadata(
        run_id=head.run_id,
        message_id=head.message_id,
        src_node_id=head.src_node_id,
        dst_node_id=SERVER_NODE_ID,
        reply_to_message_id=head.reply_to,
        group_id="",
        created_at=0.0,
        ttl=0.0,
        message_type="system",
    )
    return Message(error=Error(code=code, reason=reason), metadata=metadata)  # type: ignore[no-any-return,call-overload]
