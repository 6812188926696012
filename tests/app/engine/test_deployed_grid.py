"""The grid to a SuperLink: a reply is handed over once it is whole, and one that cannot be read is an error reply."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict

from app.engine.deployed_grid import DeployedGrid, quick
from app.engine.exchange import WaitingGrid
from app.engine.flwr_compat import MESSAGE_UNAVAILABLE, ObjectLost, ReplyHead
from app.engine.memory_grid import MemoryClock, MemoryGrid
from client.packing_mod import packing_mod
from shared.packing import PACKED, is_packed
from shared.records import from_array_record, to_array_record

NODES = [5, 6]
MODEL = {"w": np.arange(4, dtype=np.float32)}


class MemoryReplies:
    """Announces the replies of a memory grid; its objects appear when the test lets them."""

    def __init__(self, grid: MemoryGrid) -> None:
        self.grid = grid
        self.replies: dict[str, Message] = {}
        self.late: set[str] = set()  # requests whose reply is announced and does not arrive yet
        self.lost: set[str] = set()
        self.confirmed: list[str] = []

    def heads(self, message_ids: Sequence[str]) -> list[ReplyHead]:
        found = []
        for reply in self.grid.pull_messages(message_ids):
            reply_to = reply.metadata.reply_to_message_id
            self.replies[reply_to] = reply
            parts = (f"{reply_to}/0", f"{reply_to}/1")
            head = {"run_id": 1, "reply_to": reply_to, "message_id": f"r-{reply_to}", "object_ids": parts}
            found.append(ReplyHead(src_node_id=reply.metadata.src_node_id, **head))  # type: ignore[arg-type]
        return found

    def pull_object(self, object_id: str) -> bytes | None:
        reply_to, part = object_id.split("/")
        if reply_to in self.lost:
            raise ObjectLost("its sender gave up")
        return None if reply_to in self.late and part == "1" else b"12345"

    def inflate(self, head: ReplyHead, contents: Mapping[str, bytes]) -> Message:
        assert set(contents) == set(head.object_ids)
        reply = self.replies[head.reply_to]
        reply.metadata.__dict__["_message_id"] = head.message_id
        return reply

    def confirm(self, head: ReplyHead) -> None:
        self.confirmed.append(head.reply_to)


def answer(message: Message) -> Message:
    total = float(sum(array.sum() for array in from_array_record(message.content["arrays"]).values()))  # type: ignore[arg-type]
    return Message(RecordDict({"metrics": MetricRecord({"total": total})}), reply_to=message)


def grids(
    app: Callable[[Message], Message] = lambda message: packing_mod(message, None, lambda m, _: answer(m)),  # type: ignore[arg-type]
) -> tuple[DeployedGrid, MemoryReplies, MemoryClock]:
    clock = MemoryClock()
    inner = MemoryGrid(NODES, lambda message: (app(message), 0.0), clock)
    replies = MemoryReplies(inner)
    return DeployedGrid(inner, replies, clock=clock, sleep=clock.sleep), replies, clock


def requests() -> list[Message]:
    arrays = to_array_record(MODEL)
    return [
        Message(RecordDict({"arrays": arrays, "request": ConfigRecord({"node": node})}), node, "train")
        for node in NODES
    ]


def test_the_round_loop_can_wait_on_it() -> None:
    assert isinstance(grids()[0], WaitingGrid)


def test_requests_go_packed_with_one_record_for_what_they_share_and_replies_come_back_plain() -> None:
    grid, replies, _ = grids()
    sent = requests()
    ids = list(grid.push_messages(sent))
    assert [set(message.content) for message in sent] == [{PACKED, "request"}] * 2
    assert sent[0].content[PACKED] is sent[1].content[PACKED]
    found = grid.wait_messages(ids, 1.0)
    assert [dict(reply.content["metrics"]) for reply in found] == [{"total": 6.0}] * 2
    assert not any(is_packed(reply.content) for reply in found)
    assert replies.confirmed == ids


def test_requests_with_other_models_do_not_share() -> None:
    grid, _, _ = grids()
    first, second = requests()
    second.content["arrays"] = to_array_record({"w": np.zeros(4, np.float32)})
    grid.push_messages([first, second])
    assert first.content[PACKED] != second.content[PACKED]


def test_a_reply_that_is_still_on_its_way_holds_up_no_other() -> None:
    grid, replies, _ = grids()
    slow, fast = grid.push_messages(requests())
    replies.late.add(slow)
    assert [reply.metadata.reply_to_message_id for reply in grid.wait_messages([slow, fast], 1.0)] == [fast]
    assert grid.wait_messages([slow], 1.0) == []
    replies.late.clear()
    assert [reply.metadata.reply_to_message_id for reply in grid.wait_messages([slow], 1.0)] == [slow]


def test_a_reply_that_will_never_be_whole_is_an_error_reply() -> None:
    grid, replies, _ = grids()
    ids = list(grid.push_messages(requests()))
    replies.lost.add(ids[0])
    first, second = sorted(grid.wait_messages(ids, 1.0), key=lambda reply: reply.metadata.reply_to_message_id)
    assert (first.error.code, first.error.reason) == (MESSAGE_UNAVAILABLE, "its sender gave up")
    assert (first.metadata.reply_to_message_id, first.metadata.src_node_id) == (ids[0], NODES[0])
    assert second.has_content()


def test_a_reply_that_cannot_be_read_is_an_error_reply() -> None:
    def lie(message: Message) -> Message:
        return Message(RecordDict({PACKED: ConfigRecord({"records": b"hostile"})}), reply_to=message)

    grid, _, _ = grids(lie)
    ids = list(grid.push_messages(requests()))
    found = grid.wait_messages(ids, 1.0)
    assert [reply.error.reason for reply in found] == ["the reply cannot be read"] * 2


def test_waiting_ends_with_its_time_and_looks_become_rarer() -> None:
    grid, _, clock = grids()
    assert grid.wait_messages(["nobody answers this"], 2.0) == []
    assert clock.seconds == pytest.approx(2.0)


def test_what_came_of_a_reply_that_nobody_waits_for_is_forgotten() -> None:
    grid, replies, _ = grids()
    ids = list(grid.push_messages(requests()))
    replies.late.update(ids)
    grid.wait_messages(ids, 0.1)
    grid.cancel(ids)
    assert grid._arriving == {}


def test_the_size_of_a_reply_is_told_once() -> None:
    grid, _, _ = grids()
    ids = list(grid.push_messages(requests()))
    reply = grid.wait_messages(ids, 1.0)[0]
    timing = grid.timing_of(reply)
    assert timing is not None
    assert (timing.num_bytes, timing.compute_seconds) == (10, None)
    assert grid.timing_of(reply) is None


def test_flowers_own_strategies_can_use_it_too() -> None:
    grid, _, _ = grids()
    assert len(list(grid.send_and_receive(requests(), timeout=5.0))) == 2
    assert list(grid.get_node_ids()) == NODES


def test_another_grid_is_left_alone() -> None:
    inner = MemoryGrid(NODES, lambda _: None, MemoryClock())
    assert quick(inner) is inner
