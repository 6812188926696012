"""What the server adds to the messages of a strategy: who asks what, of whom, and its signature on that."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict

from app.strategies.verification import ONLY_RECORD, OpenPhase
from shared.crypto.digest import Fields
from shared.crypto.keys import key_id
from shared.crypto.signing import (
    ALGORITHM,
    NONCE_BYTES,
    PROTOCOL_VERSION,
    REQUEST_RECORD,
    SIGNATURE_RECORD,
    RequestHeader,
    sign_requests,
)
from shared.parameters import AnyArray, model_digest
from shared.privacy.reply import PRIVACY_METRICS
from shared.records import (
    BufferArray,
    Record,
    array_record,
    config_record,
    copy_record,
    flatten_records,
    read_array,
    record_dict,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestSigner:
    """Signs the requests of a phase; all with one signature (``shared.crypto.merkle``)."""

    run_id: str
    key: RSAPrivateKey
    now: Callable[[], float]
    random_bytes: Callable[[int], bytes]

    def sign(
        self, messages: Iterable[Message], *, attempt: int, server_round: int, phase: str
    ) -> tuple[list[Message], list[RequestHeader]]:
        """Return signed copies of the messages, and what was signed of each."""
        name = key_id(self.key.public_key())
        digests = _BaseDigests()
        copies = [copy_message(message) for message in messages]
        requests: list[tuple[RequestHeader, Fields]] = []
        for message in copies:
            arrays, values = flatten_records(message.content)
            header = RequestHeader(
                protocol_version=PROTOCOL_VERSION,
                run_id=self.run_id,
                attempt=attempt,
                server_round=server_round,
                phase=phase,
                message_type=message.metadata.message_type,
                nonce=self.random_bytes(NONCE_BYTES),
                node_id=str(message.metadata.dst_node_id),
                key_id=name,
                algorithm=ALGORITHM,
                base_digest=digests.of(message.content, arrays),
                issued_at=self.now(),
            )
            requests.append((header, values))
        for message, record in zip(copies, sign_requests(self.key, requests), strict=True):
            message.content[REQUEST_RECORD] = config_record(record)
        return copies, [header for header, _ in requests]


class _BaseDigests:
    """Hashes what is sent once for all messages that hold the very same arrays; they are alive meanwhile."""

    def __init__(self) -> None:
        self._known: dict[tuple[tuple[str, str, int], ...], bytes] = {}

    def of(self, content: RecordDict, arrays: dict[str, AnyArray]) -> bytes:
        identity = tuple(
            (name, key, id(array))
            for name, record in content.items()
            if isinstance(record, ArrayRecord)
            for key, array in record.items()
        )
        if identity not in self._known:
            self._known[identity] = model_digest(arrays)
        return self._known[identity]


def copy_message(message: Message) -> Message:
    """Copy a message with its records, not its arrays: strategies hand one content to all clients, and clients edit."""
    copied = copy.copy(message)
    copied.content = record_dict({name: copy_record(record) for name, record in message.content.items()})
    return copied


def clean_reply(
    reply: Message, asked: OpenPhase, weight_key: str, weight: int | float | None, *, is_private: bool = False
) -> Message:
    """Copy a good reply for the inner strategy.

    Without its signature; its arrays as they were checked, in the order of the global model, whatever its metadata says
    (a strategy that flattens records goes by that order); with the weight it counts. What a private one says of its
    privacy is left out: a strategy would make a mean of it, which means nothing.
    """
    content: dict[str, Record] = {}
    for name, record in reply.content.items():
        if name == SIGNATURE_RECORD:
            continue
        if isinstance(record, ArrayRecord):
            wanted = asked.expected.get(name, asked.expected.get(ONLY_RECORD))
            order = wanted.specs if wanted is not None and wanted.specs is not None else sorted(record)
            content[name] = array_record({key: _as_buffer(record[key]) for key in order})
            continue
        cleaned_record = copy_record(record)
        if isinstance(cleaned_record, MetricRecord):
            if weight is not None and weight_key in cleaned_record:
                cleaned_record[weight_key] = weight
            if is_private:
                for key in PRIVACY_METRICS & cleaned_record.keys():
                    del cleaned_record[key]
        content[name] = cleaned_record
    cleaned = copy.copy(reply)
    cleaned.content = record_dict(content)
    return cleaned


def _as_buffer(array: Array) -> Array:
    """Decode an array whose metadata may lie; one that never left this machine is decoded already."""
    return array if isinstance(array, BufferArray) else BufferArray(read_array(array))
