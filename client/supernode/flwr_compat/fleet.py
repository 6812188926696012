"""Flower's Fleet API, one HTTP call a method, without retries: whatever goes wrong is one of the errors here."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.common.serde import fab_from_proto, message_from_proto, run_from_proto
from flwr.proto.fab_pb2 import GetFabRequest
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    DeactivateNodeRequest,
    PullMessagesRequest,
    PushMessagesRequest,
    RegisterNodeFleetRequest,
    UnregisterNodeFleetRequest,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, PullObjectRequest, PushObjectRequest
from flwr.proto.node_pb2 import Node
from flwr.proto.run_pb2 import GetRunRequest
from flwr.supercore.error import FlowerError
from flwr.supercore.fab import Fab
from flwr.supercore.interceptors.http.runtime_version import RuntimeVersionHttpInterceptor
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supercore.run import Run
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from client.supernode.flwr_compat.messages import Deflated, Received

# 403 means "the run is not running" on every call that names one; 401 that the key is unknown or another node's.
_RUN_OVER, _UNAUTHORIZED = 403, 401
_TRY_AGAIN = frozenset({429, 502, 503, 504})
_MAX_REASON = 500  # characters of a SuperLink's answer that are passed on
Answer = TypeVar("Answer")


class FleetError(Exception):
    """A call of the Fleet API did not come to an answer."""


class Unreachable(FleetError):
    """Nobody answered, or a proxy for nobody: the same call may work later."""


class Untrusted(FleetError):
    """Whoever answered is not whom the root certificates vouch for."""


class NodeUnknown(FleetError):
    """The SuperLink does not know this node, or not with this key."""


class RunOver(FleetError):
    """The run that a call is about is not running any more."""


class Refused(FleetError):
    """The SuperLink understood, and says no."""


class Fleet:
    """Flower's Fleet API over HTTP(S), as one node with one key."""

    def __init__(
        self,
        address: str,
        key: ec.EllipticCurvePrivateKey,
        *,
        root_certificates: Path | None = None,
        insecure: bool = False,
    ) -> None:
        """Connect lazily: nothing is sent before the first call.

        Args:
            address: ``host:port`` of the SuperLink.
            key: The node's; every call is signed with it.
            root_certificates: Whom the SuperLink's certificate must come from; the system's by default.
            insecure: Without TLS.

        Raises:
            ValueError: ``root_certificates`` is given without TLS.
            OSError: The certificates cannot be read, or are none.
        """
        public = key.public_key()
        versions = RuntimeVersionHttpInterceptor(component_name="SuperNode")
        self._client = FleetHttpClient.from_server_address(
            address,
            insecure,
            root_certificates.read_bytes() if root_certificates is not None else None,
            interceptors=[versions, NodeAuthHttpInterceptor(key, public)],
        )
        self._public_key = public_key_to_bytes(public)

    def register(self) -> int:
        """Make this node known to a SuperLink that lets nodes do that themselves, and return its id."""
        return int(self._call(self._client.RegisterNode, RegisterNodeFleetRequest(public_key=self._public_key)).node_id)

    def activate(self, heartbeat_s: float) -> int:
        """Come online and return this node's id."""
        request = ActivateNodeRequest(public_key=self._public_key, heartbeat_interval=heartbeat_s)
        return int(self._call(self._client.ActivateNode, request).node_id)

    def deactivate(self, node_id: int) -> None:
        """Go offline."""
        self._call(self._client.DeactivateNode, DeactivateNodeRequest(node_id=node_id))

    def unregister(self, node_id: int) -> None:
        """Be forgotten."""
        self._call(self._client.UnregisterNode, UnregisterNodeFleetRequest(node_id=node_id))

    def heartbeat(self, node_id: int, heartbeat_s: float) -> None:
        """Stay online.

        Raises:
            NodeUnknown: The SuperLink does not know this node any more.
        """
        request = SendNodeHeartbeatRequest(node=Node(node_id=node_id), heartbeat_interval=heartbeat_s)
        if not self._call(self._client.SendNodeHeartbeat, request).success:
            raise NodeUnknown("the SuperLink does not know this node")

    def pull(self, node_id: int) -> Received | None:
        """Take the next message for this node; None when there is none."""
        answer = self._call(self._client.PullMessages, PullMessagesRequest(node=Node(node_id=node_id)))
        if not answer.messages_list or not answer.message_object_trees:
            return None
        return Received(message=message_from_proto(answer.messages_list[0]), tree=answer.message_object_trees[0])

    def run(self, node_id: int, run_id: int) -> Run:
        """Return what is known of a run."""
        request = GetRunRequest(node=Node(node_id=node_id), run_id=run_id)
        return run_from_proto(self._call(self._client.GetRun, request).run)

    def fab(self, node_id: int, run: Run) -> Fab:
        """Return a run's bundle.

        Raises:
            Refused: It is not the one the run names.
        """
        request = GetFabRequest(node=Node(node_id=node_id), hash_str=run.fab_hash, run_id=run.run_id)
        fab = fab_from_proto(self._call(self._client.GetFab, request).fab)
        if hashlib.sha256(fab.content).hexdigest() != run.fab_hash:
            raise Refused("the bundle that came is not the one the run names")
        return fab

    def pull_object(self, node_id: int, run_id: int, object_id: str) -> bytes | None:
        """Return an object's bytes; None while its sender has not sent it yet.

        Raises:
            Refused: There is no such object, or other bytes came than its id says.
        """
        request = PullObjectRequest(node=Node(node_id=node_id), run_id=run_id, object_id=object_id)
        answer = self._call(self._client.PullObject, request)
        if not answer.object_found:
            raise Refused(f"the SuperLink does not have object {object_id[:12]}")
        if not answer.object_available:
            return None
        if hashlib.sha256(answer.object_content).hexdigest() != object_id:
            raise Refused(f"object {object_id[:12]} came with other bytes than its id says")
        return bytes(answer.object_content)

    def confirm(self, node_id: int, received: Received) -> None:
        """Say that a message has arrived whole: the SuperLink may forget its objects."""
        request = ConfirmMessageReceivedRequest(
            node=Node(node_id=node_id), run_id=received.run_id, message_object_id=received.message_id
        )
        self._call(self._client.ConfirmMessageReceived, request)

    def push(self, node_id: int, reply: Deflated, seconds: float) -> tuple[set[str], str]:
        """Announce a reply; returns the objects that the SuperLink lacks, and the session to push them in.

        May be asked again for the same reply: what has arrived meanwhile is then not among them.
        """
        request = PushMessagesRequest(
            node=Node(node_id=node_id),
            messages_list=[reply.proto],
            message_object_trees=[reply.tree],
            clientapp_runtime_list=[seconds],
        )
        answer = self._call(self._client.PushMessages, request)
        return set(answer.objects_to_push), answer.session_id

    def push_object(self, node_id: int, run_id: int, session: str, object_id: str, content: bytes) -> bool:
        """Send an object; False when the SuperLink does not wait for it in this session (any more)."""
        request = PushObjectRequest(
            node=Node(node_id=node_id), run_id=run_id, object_id=object_id, object_content=content, session_id=session
        )
        return bool(self._call(self._client.PushObject, request).stored)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    @staticmethod
    def _call(method: Callable[[Any], Answer], request: object) -> Answer:
        """Make a call; whatever goes wrong is an error of this module.

        Raises:
            FleetError: In one of its kinds.
        """
        try:
            return method(request)
        except httpx.HTTPStatusError as error:
            raise _refusal(error.response) from error
        except httpx.HTTPError as error:
            text = str(error) or type(error).__name__
            if any(word in text.lower() for word in ("certificate", "ssl", "tls")):
                raise Untrusted(text) from error
            raise Unreachable(text) from error
        except ValueError as error:  # bytes that are no answer of a SuperLink
            raise Unreachable(f"what answers is no SuperLink of this version ({error})") from error


def _refusal(response: httpx.Response) -> FleetError:
    """Turn an HTTP status into one of our errors."""
    text = response.text[:_MAX_REASON]
    with suppress(Exception):  # the text may be anything, a proxy's page among it
        if (known := FlowerError.from_json(response.text)) is not None:
            text = known.message
    if response.status_code == _UNAUTHORIZED:
        return NodeUnknown(text)
    if response.status_code == _RUN_OVER:
        return RunOver(text)
    if response.status_code in _TRY_AGAIN:
        return Unreachable(f"status {response.status_code}")
    return Refused(text)
