"""Every private name of flwr 1.41 that the server side uses, in one place; tested against the installed version."""

from __future__ import annotations

from flwr.app import Message, RecordDict
from flwr.app.metadata import Metadata
from flwr.common.constant import ErrorCode
from flwr.supercore.run import Run as Run  # the type of Grid.run
from flwr.supercore.task_identity import TaskIdentity

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
