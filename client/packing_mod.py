"""A Flower mod that unpacks a request which came as one record, and packs the reply to it the same way.

It stands outermost: signatures are over what was packed, not over how.
"""

from __future__ import annotations

import copy

from flwr.app import Context, Message
from flwr.clientapp.typing import ClientAppCallable

from shared.packing import is_packed, pack, unpack


def packing_mod(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Answer packed what was asked packed.

    Raises:
        ValueError: The request is not what a server of ours packs.
    """
    if not message.has_content() or not is_packed(message.content):
        return call_next(message, context)
    plain = copy.copy(message)  # whoever sent it in this process may look at it again
    plain.content = unpack(message.content)
    reply = call_next(plain, context)
    if reply.has_content():
        reply.content = pack(reply.content)
    return reply
