"""Every private name of flwr 1.41 that the server side uses, in one place; tested against the installed version."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import click
from flwr.app import Message, RecordDict
from flwr.app.metadata import Metadata
from flwr.common import config as flwr_config
from flwr.common.constant import ErrorCode
from flwr.server import server as legacy_server
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
