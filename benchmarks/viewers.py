"""Many viewers in one process: real Socket.IO connections over WebSocket, as light as a client can be.

``python -m benchmarks.viewers '{"url": ..., "rooms": [...], "viewers": 200}'`` says "ready" on a line once every viewer
is in every room, takes ``{"room": last_seq}`` on a line of its input, waits until all have heard so much (or for
``PATIENCE_S``), and answers with what each heard when: [viewer][room] -> [[last_seq, monotonic seconds], ...].

A message's place is found without decoding the rest of it: the page's own work is no part of the measurement.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from dataclasses import dataclass, field

from websockets import Origin
from websockets.asyncio.client import ClientConnection, connect

CONNECTING_AT_ONCE = 20
PATIENCE_S = 10.0
# Engine.IO 4 and Socket.IO 5: "0" open, "2" ping, "3" pong, "4" message; of messages "0" connect, "2" event, "3" ack.
_UPDATE = re.compile(r'42\["update",\{"room":"([^"]*)","seq":(\d+)')

Heard = dict[str, list[tuple[int, float]]]


@dataclass(slots=True)
class Viewer:
    """One connection and what it heard."""

    rooms: list[str]
    heard: Heard = field(default_factory=dict)
    num_messages: int = 0
    num_bytes: int = 0
    is_compressed: bool = False

    async def join(self, url: str) -> ClientConnection:
        """Connect, and enter every room.

        Raises:
            ConnectionError: The server refuses.
        """
        address = url.replace("http", "ws", 1) + "/socket.io/?EIO=4&transport=websocket"
        socket = await connect(address, max_size=None, origin=Origin(url))  # as a page does
        self.is_compressed = bool(socket.protocol.extensions)
        await socket.recv()
        await socket.send("40")
        if not (answer := str(await socket.recv())).startswith("40"):
            raise ConnectionError(answer)
        for number, room in enumerate(self.rooms):
            self.heard[room] = []
            await socket.send(f"42{number}" + json.dumps(["subscribe", {"room": room}]))
            while not (answer := str(await socket.recv())).startswith(f"43{number}"):
                await self._take(socket, answer)
            if not json.loads(answer.removeprefix(f"43{number}"))[0]["ok"]:
                raise ConnectionError(answer)
        return socket

    async def listen(self, socket: ClientConnection) -> None:
        """Hear until the connection ends."""
        async for message in socket:
            await self._take(socket, str(message))

    async def _take(self, socket: ClientConnection, message: str) -> None:
        now = time.monotonic()
        if message == "2":
            await socket.send("3")
            return
        found = _UPDATE.match(message)
        if found:
            self.num_messages += 1
            self.num_bytes += len(message)
            self.heard[found[1]].append((int(found[2]), now))


def has_heard(viewer: Viewer, wanted: dict[str, int]) -> bool:
    """Tell whether a viewer has heard of each room's event."""
    return all(viewer.heard[room] and viewer.heard[room][-1][0] >= seq for room, seq in wanted.items())


async def main(url: str, rooms: list[str], viewers: int) -> None:
    """Connect, listen, report."""
    everyone = [Viewer(rooms) for _ in range(viewers)]
    gate = asyncio.Semaphore(CONNECTING_AT_ONCE)

    async def enter(viewer: Viewer) -> ClientConnection:
        async with gate:
            return await viewer.join(url)

    sockets = await asyncio.gather(*(enter(viewer) for viewer in everyone))
    listening = [asyncio.create_task(one.listen(socket)) for one, socket in zip(everyone, sockets, strict=True)]
    print("ready", flush=True)
    wanted = json.loads(await asyncio.to_thread(sys.stdin.readline))
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and not all(has_heard(viewer, wanted) for viewer in everyone):
        await asyncio.sleep(0.1)
    for task in listening:
        task.cancel()
    answer = {
        "heard": [viewer.heard for viewer in everyone],
        "messages": sum(viewer.num_messages for viewer in everyone),
        "bytes": sum(viewer.num_bytes for viewer in everyone),
        "compressed": all(viewer.is_compressed for viewer in everyone),
    }
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(main(**json.loads(sys.argv[1])))
