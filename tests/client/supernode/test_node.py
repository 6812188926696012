"""The resident node's loop against a SuperLink in memory: it answers everything, and nothing ends it but a stop."""

from __future__ import annotations

import random
from collections import deque
from pathlib import Path

import numpy as np
import pytest
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from client.supernode.apps import BundledApps, ChangesProcess, Desk, InstalledApp
from client.supernode.flwr_compat import (
    CLIENT_APP_CRASHED,
    CLIENT_APP_RAISED,
    LOAD_CLIENT_APP,
    NodeUnknown,
    Received,
    RunOver,
    Unreachable,
    Untrusted,
)
from client.supernode.memory import MAX_STARTS, FolderMemory, InHand, Memory, NoMemory
from client.supernode.node import NodeOptions, ResidentNode
from client.supernode.persistence import GaveUp, Stopped
from shared.errors import PluginError
from tests.client.supernode.fake_fleet import NODE_ID, RUN_ID, FakeFleet, request, stop

counting = ClientApp()


@counting.train()
def count(message: Message, context: Context) -> Message:
    calls = context.state.setdefault("calls", MetricRecord({"n": 0}))
    calls["n"] += 1
    total = float(sum(array.numpy().sum() for array in message.content["arrays"].values()))
    return Message(RecordDict({"metrics": MetricRecord({"n": calls["n"], "total": total})}), reply_to=message)


@counting.evaluate()
def fail(message: Message, context: Context) -> Message:
    raise ZeroDivisionError("no data")


@counting.query()
def leave(message: Message, context: Context) -> Message:
    raise SystemExit(3)


HERE = "tests.client.supernode.test_node:counting"


class Waits:
    """Counts the seconds that were waited; never waits."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def __call__(self, seconds: float) -> bool:
        self.seconds.append(seconds)
        return False


class Clock:
    """One second a look."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def node_of(
    fleet: FakeFleet, memory: Memory | None = None, *, waits: Waits | None = None, **options: object
) -> ResidentNode:
    desk = Desk(InstalledApp(HERE), {"partition-id": 0})
    return ResidentNode(
        fleet,
        desk,
        memory or NoMemory(),
        NodeOptions(address="there:1", **options),  # type: ignore[arg-type]
        rng=random.Random(1),
        is_stopped=waits or Waits(),
        clock=Clock(),
    )


def run(fleet: FakeFleet, memory: Memory | None = None, *, waits: Waits | None = None, **options: object) -> None:
    """Run a node until it has nothing to do."""
    fleet.on_idle = stop
    with pytest.raises(Stopped):
        node_of(fleet, memory, waits=waits, **options).run()


def arrays(*values: float) -> RecordDict:
    return RecordDict({"arrays": ArrayRecord([np.array([value]) for value in values])})


def test_messages_are_answered_by_an_app_that_stays_loaded_and_keeps_its_state() -> None:
    fleet = FakeFleet()
    for value in (1.0, 2.0):
        fleet.ask(request(arrays(value, 10.0)))
    run(fleet)
    assert [dict(reply.content["metrics"]) for reply in fleet.replies] == [
        {"n": 1, "total": 11.0},
        {"n": 2, "total": 12.0},
    ]
    assert [reply.metadata.src_node_id for reply in fleet.replies] == [NODE_ID, NODE_ID]
    assert fleet.calls.count("run") == fleet.calls.count("fab") == 1
    assert len(fleet.confirmed) == 2


def test_objects_that_the_last_message_brought_are_not_fetched_again() -> None:
    fleet = FakeFleet()
    fleet.ask(request(arrays(1.0, 10.0)))
    fleet.ask(request(arrays(1.0, 20.0)))
    run(fleet)
    assert len(fleet.pulled) == len(set(fleet.pulled)), "the array that both messages share comes once"
    assert [reply.content["metrics"]["total"] for reply in fleet.replies] == [11.0, 21.0]


def test_a_node_registers_itself_and_leaves_nothing_behind() -> None:
    fleet = FakeFleet()
    run(fleet)
    assert fleet.calls == ["activate", "register", "activate", "pull", "deactivate", "unregister"]


def test_a_node_with_a_key_that_lasts_stays_registered() -> None:
    fleet = FakeFleet()
    run(fleet, is_lasting=True)
    assert fleet.calls[-1] == "deactivate"


def test_a_node_comes_back_under_its_id(tmp_path: Path) -> None:
    fleet = FakeFleet()
    run(fleet, FolderMemory(tmp_path), is_lasting=True)
    fleet.calls.clear()
    run(fleet, FolderMemory(tmp_path), is_lasting=True)
    assert fleet.calls == ["heartbeat", "pull", "deactivate"]


def test_a_superlink_that_forgot_the_node_is_joined_again() -> None:
    fleet = FakeFleet(faults={"pull": deque([NodeUnknown("who?"), None])})
    fleet.is_registered = True
    fleet.ask(request(arrays(1.0)))
    run(fleet)
    assert len(fleet.replies) == 1


def test_an_outage_is_waited_for_with_growing_pauses() -> None:
    fleet, waits = FakeFleet(), Waits()
    fleet.faults = {"activate": deque([Unreachable("down")] * 4 + [None] * 9)}
    run(fleet, waits=waits)
    pauses = waits.seconds[:4]
    for pause, top in zip(pauses, (0.2, 0.4, 0.8, 1.6), strict=True):
        assert top / 2 <= pause <= top


def test_a_refused_node_asks_on_because_an_operator_may_enroll_it() -> None:
    fleet = FakeFleet(is_open=False)
    fleet.faults = {"activate": deque([None, None, None])}

    class Enrolls(Waits):
        def __call__(self, seconds: float) -> bool:
            fleet.is_registered = True
            return super().__call__(seconds)

    run(fleet, waits=Enrolls(), registers_itself=False)
    assert "register" not in fleet.calls
    assert fleet.calls[-1] == "deactivate"


def test_a_node_gives_up_after_the_time_it_was_given() -> None:
    fleet = FakeFleet(faults={"activate": deque([Unreachable("down")] * 99)})
    with pytest.raises(GaveUp, match=r"no connection to there:1 for [0-9]+ s: down"):
        node_of(fleet, max_wait_s=10.0).run()


def test_a_server_with_another_certificate_is_not_asked_twice() -> None:
    fleet = FakeFleet(faults={"activate": deque([Untrusted("certificate verify failed")])})
    with pytest.raises(GaveUp, match="cannot prove that it is the server of this federation"):
        node_of(fleet).run()


def test_a_server_that_was_the_right_one_may_be_so_again() -> None:
    fleet = FakeFleet(faults={"pull": deque([None, Untrusted("certificate verify failed"), None, None])})
    fleet.ask(request(arrays(1.0)))
    fleet.ask(request(arrays(2.0)))
    run(fleet)
    assert len(fleet.replies) == 2


@pytest.mark.parametrize(("kind", "words"), [("evaluate", "no data"), ("query", "SystemExit")])
def test_an_app_that_raises_is_an_error_reply_and_the_next_message_is_answered(kind: str, words: str) -> None:
    fleet = FakeFleet()
    fleet.ask(request(arrays(1.0), kind))
    fleet.ask(request(arrays(2.0)))
    run(fleet)
    assert fleet.replies[0].error.code == CLIENT_APP_RAISED
    assert words in fleet.replies[0].error.reason
    assert fleet.replies[1].content["metrics"]["total"] == 2.0


def test_bytes_that_are_no_message_are_an_error_reply() -> None:
    fleet = FakeFleet()
    fleet.ask(request(arrays(1.0)))
    for object_id in fleet.objects:
        fleet.objects[object_id] = b"Message 0\x00 hello"
    run(fleet)
    assert fleet.replies[0].error.code == CLIENT_APP_RAISED
    assert "its bytes are no message" in fleet.replies[0].error.reason


def test_a_message_of_another_run_than_announced_is_refused() -> None:
    fleet = FakeFleet()
    fleet.ask(request(arrays(1.0)))
    received, contents = fleet.queue.pop()
    received.message.metadata.__dict__["_run_id"] = RUN_ID + 1
    fleet.queue.append((received, contents))
    run(fleet)
    assert "another run's" in fleet.replies[0].error.reason


def test_a_run_that_is_over_is_dropped() -> None:
    fleet = FakeFleet(faults={"push": deque([RunOver("finished"), None])})
    fleet.ask(request(arrays(1.0)))
    fleet.ask(request(arrays(2.0)))
    run(fleet)
    assert [reply.content["metrics"]["total"] for reply in fleet.replies] == [2.0]


def test_a_reply_is_sent_until_all_its_objects_have_arrived() -> None:
    fleet = FakeFleet()

    class Forgets(FakeFleet):
        def push_object(self, *arguments: object) -> bool:
            if self.calls.count("push") == 1:
                self.calls.append("push_object")
                return False  # the session has ended
            return super().push_object(*arguments)  # type: ignore[arg-type]

    fleet = Forgets()
    fleet.ask(request(arrays(1.0)))
    run(fleet)
    assert len(fleet.replies) == 1
    assert fleet.calls.count("push") == 2


def test_a_message_in_hand_is_answered_after_a_kill(tmp_path: Path) -> None:
    fleet = FakeFleet()
    fleet.is_registered = True
    fleet.ask(request(arrays(5.0)))
    received, _ = fleet.queue.popleft()
    memory = FolderMemory(tmp_path)
    memory.remember_node(NODE_ID)
    memory.take(InHand(node_id=NODE_ID, starts=1, received=received))
    run(fleet, FolderMemory(tmp_path), is_lasting=True)
    assert fleet.replies[0].content["metrics"]["total"] == 5.0
    assert fleet.replies[0].metadata.reply_to_message_id == received.message_id
    assert FolderMemory(tmp_path).taken() is None


def test_a_message_that_kills_the_process_is_not_tried_for_ever(tmp_path: Path) -> None:
    fleet = FakeFleet()
    fleet.is_registered = True
    fleet.ask(request(arrays(5.0)))
    received, _ = fleet.queue.popleft()
    memory = FolderMemory(tmp_path)
    memory.remember_node(NODE_ID)
    memory.take(InHand(node_id=NODE_ID, starts=MAX_STARTS, received=received))
    run(fleet, FolderMemory(tmp_path), is_lasting=True)
    assert fleet.replies[0].error.code == CLIENT_APP_CRASHED


@pytest.mark.parametrize("text", ["", "{", "[]", '{"node-id": 1}', '{"node-id": 41, "starts": 1, "received": "{}"}'])
def test_a_damaged_memory_counts_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "in-hand.json").write_text(text)
    (tmp_path / "node.json").write_text(text)
    memory = FolderMemory(tmp_path)
    assert memory.taken() is None


def test_what_is_remembered_is_for_its_owner_only(tmp_path: Path) -> None:
    memory = FolderMemory(tmp_path / "state")
    memory.remember_node(3)
    assert (tmp_path / "state").stat().st_mode & 0o077 == 0
    assert (tmp_path / "state" / "node.json").stat().st_mode & 0o077 == 0


def test_an_installed_app_must_be_one() -> None:
    with pytest.raises(PluginError, match="is no Flower ClientApp"):
        InstalledApp("tests.client.supernode.test_node:HERE")


def test_a_second_bundle_asks_for_a_process_of_its_own() -> None:
    fleet = FakeFleet()
    apps = BundledApps()
    apps._loaded = ("one hash", counting)
    fleet.run_info.fab_hash = "another"
    with pytest.raises(ChangesProcess):
        Desk(apps, {}).prepare(NODE_ID, fleet.run_info, fleet.fab(NODE_ID, fleet.run_info))


def test_a_bundle_that_cannot_be_read_is_an_error_reply() -> None:
    fleet = FakeFleet(bundle_bytes=b"no zip")
    fleet.ask(request(arrays(1.0)))
    run(fleet)
    assert fleet.replies[0].error.code == LOAD_CLIENT_APP


def test_a_received_message_survives_being_written_down() -> None:
    fleet = FakeFleet()
    fleet.ask(request(arrays(1.0)))
    received, _ = fleet.queue.pop()
    again = Received.from_json(received.to_json())
    assert (again.run_id, again.message_id, again.object_ids) == (
        received.run_id,
        received.message_id,
        received.object_ids,
    )
