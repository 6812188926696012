"""What a worker of the local grid does: it runs a ClientApp on messages, and named functions on what they are given."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import msgpack
from flwr.app import Context, Message, RecordDict

from app.engine import flwr_compat
from app.engine.frames import Part
from shared.records import copy_record, decode_records, encode_parts, encode_records, record_dict

MESSAGE, CALL = "message", "call"
EMPTY_STATE = encode_records(RecordDict())

# A ClientApp, or what stands before one.
AnyClientApp = Callable[[Message, Context], Message]
# A named function: its arguments as bytes and the shared payload it works on, to an answer as bytes.
Call = Callable[[bytes, RecordDict], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientHandler:
    """Answers messages with a ClientApp and calls with functions."""

    app: AnyClientApp
    run_config: Mapping[str, bool | int | float | str]
    calls: Mapping[str, Call]
    # The decoded payload of a blob is kept as long as the worker keeps the blob: by identity, never by content.
    decoded: dict[int, tuple[memoryview, RecordDict]]

    def handle(self, kind: str, head: memoryview, blobs: Sequence[memoryview]) -> Sequence[Part]:
        """Answer one task of the local grid."""
        shared = [self._decode(blob) for blob in blobs]
        if kind == CALL:
            name, arguments = msgpack.unpackb(head)
            return [self.calls[name](arguments, shared[0] if shared else RecordDict())]
        return self._message(head, shared)

    def _message(self, head: memoryview, shared: Sequence[RecordDict]) -> Sequence[Part]:
        fields, node_config, names, own_content, state_bytes = msgpack.unpackb(head)
        message = flwr_compat.request_message(fields, _assemble(names, decode_records(own_content), shared))
        metadata = message.metadata
        flwr_compat.identify_process(metadata.run_id, metadata.dst_node_id)
        state = decode_records(bytes(state_bytes)) if state_bytes else RecordDict()
        context = Context(
            run_id=metadata.run_id,
            node_id=metadata.dst_node_id,
            node_config=node_config,
            state=state,
            run_config=dict(self.run_config),
        )
        error, content = self._run(message, context)
        new_state = encode_records(context.state)
        if new_state == (state_bytes or EMPTY_STATE):
            new_state = b""
        return [msgpack.packb(error), content, new_state]

    def _run(self, message: Message, context: Context) -> tuple[tuple[int, str] | None, Part]:
        """Return the error that answers the message, code and reason, or None and the encoded content."""
        try:
            reply = self.app(message, context)
            if not isinstance(reply, Message):
                raise TypeError(f"the ClientApp answered with a {type(reply).__name__} instead of a Message")
            if reply.has_error():
                return (reply.error.code, reply.error.reason or ""), b""
            return None, encode_parts(reply.content)
        except Exception as error:  # noqa: BLE001 - anybody's app may fail in any way: the round goes on
            detail = f"{type(error).__name__}: {error}\n{traceback.format_exc()}"
            return (flwr_compat.CLIENT_APP_RAISED, detail), b""

    def _decode(self, blob: memoryview) -> RecordDict:
        known = self.decoded.get(id(blob))
        if known is None or known[0] is not blob:
            while len(self.decoded) >= _MAX_DECODED:
                self.decoded.pop(next(iter(self.decoded)))
            known = self.decoded[id(blob)] = (blob, decode_records(blob))
        return known[1]


_MAX_DECODED = 4


def _assemble(names: Sequence[tuple[str, int]], own: RecordDict, shared: Sequence[RecordDict]) -> RecordDict:
    """Put a message's records together again: its own, and copies of the shared ones (apps may change a record)."""
    return record_dict(
        {name: own[name] if blob_index < 0 else copy_record(shared[blob_index][""]) for name, blob_index in names}
    )
