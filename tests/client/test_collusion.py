"""Members of a gang come to the same estimate, each on its own, and change nothing but their training replies."""

from __future__ import annotations

import numpy as np
import pytest
from flwr.app import ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from client.attacks import hostile_mods
from shared.config import RunConfig
from shared.records import from_array_record, to_array_record

BASE = {"w": np.array([1.0, 1.0]), "steps": np.array(3)}


@pytest.fixture(autouse=True)
def identity(monkeypatch):
    for name in ("_run_id", "_node_id", "_task_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)


def request(message_type="train"):
    content = RecordDict({"arrays": to_array_record(BASE), "config": ConfigRecord({"server-round": 2})})
    message = Message(content, dst_node_id=100, message_type=message_type)
    message.metadata.__dict__["_message_id"] = "m"
    return message


def context(partition_id):
    return Context(1, 100 + partition_id, {"partition-id": partition_id}, RecordDict(), {})


def honest_app(message, context):
    """Moves (w0, w1) by (partition, 2)."""
    partition = context.node_config["partition-id"]
    context.state["trained"] = MetricRecord({"times": 1})
    arrays = {"w": BASE["w"] + np.array([partition, 2.0]), "steps": np.array(4)}
    content = {"arrays": to_array_record(arrays), "metrics": MetricRecord({"num-examples": 10 + partition})}
    return Message(RecordDict(content), reply_to=message)


def played(attack, partition_id, *, message=None, app=honest_app, num_clients=6, hostile=3):
    _, (mod,) = hostile_mods(RunConfig(attack=(f"{attack}:{hostile}",), num_clients=num_clients))
    return mod(message or request(), context(partition_id), app)


def moved(reply):
    return (from_array_record(reply.content["arrays"])["w"] - BASE["w"]).tolist()


# The gang is 3, 4 and 5: its honest changes are (3, 2), (4, 2), (5, 2).


@pytest.mark.parametrize("partition", [3, 4, 5])
def test_every_member_sends_the_same_without_a_word_between_them(partition):
    assert moved(played("alie-1", partition)) == pytest.approx([4 - np.sqrt(2 / 3), 2.0])
    assert moved(played("ipm", partition)) == pytest.approx([-1.1 * 4, -1.1 * 2])  # (6 - 3) / 3 x 1.1
    assert moved(played("sybil", partition)) == [3.0, 2.0]


def test_alie_goes_as_far_as_goes_unnoticed():
    # n = 6, f = 3: s = 4 - 3 = 1 of 3 honest, Phi(z) = 2/3, z = 0.4307.
    assert moved(played("alie", 4)) == pytest.approx([4 - 0.43073 * np.sqrt(2 / 3), 2.0], abs=1e-4)


def test_noise_differs_between_members_and_is_drawn_again_the_same():
    one, again, other = (moved(played("gaussian", partition)) for partition in (3, 3, 4))
    assert one == again != other
    assert np.linalg.norm(one) == pytest.approx(5 * np.hypot(3, 2))


def test_a_free_rider_moves_next_to_nothing():
    assert 0 < np.linalg.norm(moved(played("free-rider", 5))) < 0.01


@pytest.mark.parametrize("attack", ["alie", "ipm", "sybil", "gaussian", "free-rider"])
def test_counters_metrics_evaluation_and_errors_stay_as_they_are(attack):
    reply = played(attack, 5)
    assert from_array_record(reply.content["arrays"])["steps"] == 4
    assert reply.content["metrics"]["num-examples"] == 15
    assert moved(played(attack, 5, message=request("evaluate"))) == [5.0, 2.0]
    assert played(attack, 5, app=lambda message, _: Message(Error(2, "no"), reply_to=message)).has_error()
    assert moved(played(attack, 0)) == [0.0, 2.0]  # honest


def test_a_member_keeps_no_state_of_its_partners():
    own = context(5)
    _, (mod,) = hostile_mods(RunConfig(attack=("alie:3",), num_clients=6))
    mod(request(), own, honest_app)
    assert list(own.state) == ["trained"]
    assert own.node_config["partition-id"] == 5
