"""One worker process: it reads tasks from its socket, hands them to its handler, and writes the answers back.

Started in two ways: forked from the zygote (data and imports are shared with it), or as ``python -m app.engine.worker``
where fork is not to be had or an accelerator is used.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import sys
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgpack

from app.engine.frames import Part, receive_frame, send_frame
from shared.plugins import load_plugin

MAX_BLOBS = 4  # shared payloads a worker keeps: this round's model, the previous one's, and evaluation's
OK, FAILED = 0, 1
READY = b"\1"  # a worker's first byte: from here on a death is its task's doing


class Handler(Protocol):
    """What a worker does with a task."""

    def handle(self, kind: str, head: memoryview, blobs: Sequence[memoryview]) -> Sequence[Part]:
        """Answer one task.

        Args:
            kind: What is asked for.
            head: The task's own bytes.
            blobs: Payloads shared by many tasks; the same objects for the same payload, so results derived from one
                may be kept by identity.
        """


def serve(sock: socket.socket, handler: Handler) -> None:
    """Answer tasks until the other end closes the connection."""
    blobs: OrderedDict[int, memoryview] = OrderedDict()
    while True:
        try:
            meta, head, *new = receive_frame(sock)
        except (EOFError, OSError):
            return
        kind, blob_ids, new_ids = msgpack.unpackb(meta)
        blobs.update(zip(new_ids, new, strict=True))
        for blob_id in blob_ids:
            blobs.move_to_end(blob_id)
        while len(blobs) > max(MAX_BLOBS, len(blob_ids)):
            blobs.popitem(last=False)
        answer = _answer(handler, kind, head, [blobs[blob_id] for blob_id in blob_ids])
        try:
            send_frame(sock, answer)
        except OSError:
            return


def _answer(handler: Handler, kind: str, head: memoryview, blobs: Sequence[memoryview]) -> list[Part]:
    start = time.perf_counter()
    try:
        status, parts = OK, list(handler.handle(kind, head, blobs))
    except Exception as error:  # noqa: BLE001 - the outer loop of a process that runs other people's code
        detail = f"{type(error).__name__}: {error}\n{traceback.format_exc()}"
        status, parts = FAILED, [detail.encode(errors="replace")]
    return [msgpack.packb((status, time.perf_counter() - start)), *parts]


def run_worker(sock: socket.socket, make_handler: Callable[[], Handler]) -> None:
    """Make the handler and serve, deaf to Ctrl-C: the parent decides when a worker ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.dup2(2, 1)  # what clients print goes beside our results, never between them
    # The parent's streams may be anything: a notebook's cells, a view that redraws itself, or none.
    sys.stdout = sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False, errors="backslashreplace")
    handler = make_handler()
    # What a client's code forks must not keep our end open: the grid would wait for a worker that is long dead.
    os.register_at_fork(after_in_child=sock.close)
    sock.sendall(READY)
    gc.freeze()  # what is there now stays shared with the zygote, and no collection looks at it again
    serve(sock, handler)


def main(arguments: Sequence[str]) -> None:
    """Serve on an inherited socket: ``FD TARGET JSON``, where TARGET names a function that makes the handler."""
    descriptor, target, settings = arguments
    factory = load_plugin(target, what="worker")
    if not callable(factory):
        raise TypeError(f"worker target {target!r} is not a function")
    values: Mapping[str, object] = json.loads(settings)
    run_worker(socket.socket(fileno=int(descriptor)), lambda: factory(**values))


if __name__ == "__main__":
    main(sys.argv[1:])
