"""Secure aggregation with real clients' mods on one side and the strategy on the other: sums, dropouts, and mallory."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from flwr.app import ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg
from flwr.supercore.task_identity import TaskIdentity

from app.strategies.secagg import SecAggSettings, SecureAggregation
from client.secagg_mod import make_secagg_mod
from client.signing_mod import ClientIdentity
from shared.aggregation import AGGREGATIONS
from shared.crypto.directory import MemoryDirectory
from shared.crypto.keys import key_id
from shared.errors import ProtocolError
from shared.records import decode_records, encode_records, from_array_record, to_array_record
from shared.secagg.masks import public_bytes
from shared.secagg.protocol import RECORD

BASE = {"b": np.array([1.0, -1.0], np.float32), "a": np.array([[0.5]], np.float32), "steps": np.array(3)}
KEY = generate_private_key(65537, 2048)


@pytest.fixture(autouse=True)
def identity(monkeypatch):
    for name in ("_run_id", "_node_id", "_task_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)


def client_of(node):
    return f"client-{node}"


@dataclass
class Grid:
    nodes: list[int]

    def get_node_ids(self):
        return self.nodes


@dataclass
class Federation:
    """Clients whose update moves the model by a known change; the wire is real bytes."""

    num_clients: int
    directory: MemoryDirectory = field(default_factory=MemoryDirectory)
    contexts: dict[int, Context] = field(default_factory=dict)
    strategy: SecureAggregation | None = None
    asked: dict[str, dict[int, Message]] = field(default_factory=dict)

    def __post_init__(self):
        self.nodes = [10 + place for place in range(self.num_clients)]
        rng = np.random.default_rng(3)
        self.changes = {node: rng.uniform(-1, 1, 3) for node in self.nodes}
        self.examples = {node: 5 * (place + 1) for place, node in enumerate(self.nodes)}
        for node in self.nodes:
            self.directory.enroll(client_of(node), KEY.public_key())
            self.contexts[node] = Context(1, node, {}, RecordDict(), {})
        self.mod = make_secagg_mod(
            lambda context: ClientIdentity(
                client_id=client_of(context.node_id), key=KEY, key_id=key_id(KEY.public_key())
            ),
            lambda _: self.directory,
        )

    def app(self, message, context):
        assert message.metadata.message_type == "train"
        assert RECORD not in message.content
        base = from_array_record(message.content["arrays"])
        flat = self.changes[context.node_id]
        arrays = {  # by sorted name: a, b
            "b": (base["b"] + flat[1:]).astype(np.float32),
            "a": (base["a"] + flat[0]).astype(np.float32),
            "steps": np.array(9),
        }
        metrics = MetricRecord({"num-examples": self.examples[context.node_id]})
        return Message(RecordDict({"arrays": to_array_record(arrays), "metrics": metrics}), reply_to=message)

    def answer(self, message):
        node = message.metadata.dst_node_id
        message.metadata.__dict__["_message_id"] = f"m-{node}"
        context = self.contexts[node]
        context.state = decode_records(encode_records(context.state))  # another worker may play the client next
        reply = self.mod(message, context, self.app)
        reply.content = decode_records(encode_records(reply.content))
        reply.metadata.__dict__["_src_node_id"] = node
        return reply

    def stage(self, stage, drop=(), tamper=lambda _: None):
        messages = list(
            self.strategy.configure_stage(stage, 1, to_array_record(BASE), ConfigRecord(), Grid(self.nodes))
        )
        self.asked[stage.name] = {message.metadata.dst_node_id: copy.deepcopy(message) for message in messages}
        replies = [self.answer(message) for message in messages if message.metadata.dst_node_id not in drop]
        for reply in replies:
            tamper(reply)
        self.strategy.finish_stage(stage, 1, replies)

    def unmask(self, drop=()):
        messages = list(self.strategy.configure_train(1, to_array_record(BASE), ConfigRecord(), Grid(self.nodes)))
        self.asked["unmask"] = {message.metadata.dst_node_id: copy.deepcopy(message) for message in messages}
        return [self.answer(message) for message in messages if message.metadata.dst_node_id not in drop]

    def run(self, strategy, *, keys=(), shares=(), update=(), unmask=()):
        self.strategy = strategy
        for stage, drop in zip(strategy.stages(1), (keys, shares, update), strict=True):
            self.stage(stage, drop)
        return strategy.aggregate_train(1, self.unmask(unmask))

    def mean(self, nodes):
        weights = [self.examples[node] for node in nodes]
        flat = np.average([self.changes[node] for node in nodes], axis=0, weights=weights)
        return {"a": BASE["a"] + flat[0], "b": BASE["b"] + flat[1:]}


def strategy(groups=1, rule=None, max_examples=50, **changes):
    inner = FedAvg(min_train_nodes=1, min_available_nodes=1)
    settings = SecAggSettings(clip=2.0, max_examples=max_examples, groups=groups)
    return SecureAggregation(inner, settings, rule=rule, **changes)


def assert_is_mean(arrays, federation, nodes):
    model, wanted = from_array_record(arrays), federation.mean(nodes)
    for name, value in wanted.items():
        assert model[name] == pytest.approx(value, abs=2e-5)
        assert model[name].dtype == np.float32
    assert model["steps"] == 3  # counters are not summed
    assert list(model) == list(BASE)


def test_unmasked_sum_is_the_plain_one_when_all_stay():
    federation = Federation(10)
    arrays, _ = federation.run(strategy())
    assert_is_mean(arrays, federation, federation.nodes)
    assert all(RECORD not in context.state for context in federation.contexts.values())


@pytest.mark.parametrize("num_gone", [2, 4])
@pytest.mark.parametrize("stage", ["keys", "shares", "update", "unmask"])
def test_dropouts_of_20_and_40_percent_leave_the_sum_of_the_others(num_gone, stage):
    federation = Federation(10)
    gone = federation.nodes[1::2][:num_gone]
    arrays, _ = federation.run(strategy(), **{stage: gone})
    came = federation.nodes if stage == "unmask" else [node for node in federation.nodes if node not in gone]
    assert_is_mean(arrays, federation, came)


def test_dropouts_at_every_stage_at_once():
    federation = Federation(20)  # of which each knows its 18 nearest
    nodes = federation.nodes
    arrays, _ = federation.run(
        strategy(max_examples=100), keys=[nodes[3]], shares=[nodes[8]], update=[nodes[0]], unmask=[nodes[5]]
    )
    assert_is_mean(arrays, federation, [node for node in nodes if node not in (nodes[3], nodes[8], nodes[0])])


def test_below_the_threshold_the_round_is_given_up_cleanly():
    federation = Federation(10)
    with pytest.raises(ValueError, match=r"shares of node .* and 5 are needed"):
        federation.run(strategy(), unmask=federation.nodes[:6])


def test_updates_on_the_wire_look_like_noise_and_never_twice_the_same():
    seen = []
    for _ in range(2):
        federation = Federation(4)
        federation.changes = dict.fromkeys(federation.nodes, np.zeros(3))
        federation.strategy = strategy()
        for stage in federation.strategy.stages(1):
            federation.stage(stage)
        seen += [words.tobytes() for words in federation.strategy._session.masked.values()]
    assert len(set(seen)) == 8


def test_groups_sum_in_secret_and_a_rule_chooses_among_them():
    federation = Federation(12)
    liar = federation.nodes[0]
    federation.changes[liar] = np.full(3, 2.0)
    federation.examples = dict.fromkeys(federation.nodes, 10)
    honest = np.array([federation.changes[node] for node in federation.nodes if node != liar])
    secure = strategy(groups=4, rule=AGGREGATIONS["median"])
    arrays, _ = federation.run(secure)
    model = from_array_record(arrays)
    moved = np.array([model["a"].item() - 0.5, *(model["b"] - BASE["b"])])
    assert (moved <= honest.max(axis=0) + 1e-6).all()
    groups = [
        len(nodes) for nodes in ({tuple(sorted([node, *near])) for node, near in _neighbours(federation).items()})
    ]
    assert groups == [3, 3, 3, 3]


def _neighbours(federation):
    return {
        node: [int(other) for other in message.content[RECORD]["nodes"]]
        for node, message in federation.asked["shares"].items()
    }


# Mallory


def fresh_shares(num_clients=4):
    federation = Federation(num_clients)
    federation.strategy = strategy()
    keys, shares, update = federation.strategy.stages(1)
    federation.stage(keys)
    return federation, shares, update


@pytest.mark.parametrize("column", ["seal-keys", "mask-keys", "signatures", "client-ids", "nodes"])
def test_a_server_that_puts_its_own_keys_between_neighbours_is_found_out(column):
    federation, shares, _ = fresh_shares()
    (message, *_) = federation.strategy.configure_stage(
        shares, 1, to_array_record(BASE), ConfigRecord(), Grid(federation.nodes)
    )
    record = message.content[RECORD]
    own = {
        "seal-keys": public_bytes(b"m" * 32),
        "mask-keys": public_bytes(b"m" * 32),
        "signatures": bytes(256),
        "client-ids": "client-99",
        "nodes": "99",
    }
    record[column] = [own[column], *record[column][1:]]
    with pytest.raises(ProtocolError, match=r"not signed by it|does not trust"):
        federation.answer(message)


def test_keys_of_another_session_and_of_a_revoked_client_are_refused():
    federation, shares, _ = fresh_shares()
    messages = list(
        federation.strategy.configure_stage(shares, 1, to_array_record(BASE), ConfigRecord(), Grid(federation.nodes))
    )
    revoked = federation.nodes[0]
    federation.directory.revoke(client_of(revoked), key_id(KEY.public_key()))
    neighbour, other = [message for message in messages if message.metadata.dst_node_id != revoked][:2]
    with pytest.raises(ProtocolError, match="does not trust"):
        federation.answer(neighbour)
    other.content[RECORD]["session"] = "another"
    with pytest.raises(ProtocolError, match="not in this stage of this session"):
        federation.answer(other)


def test_a_client_answers_each_stage_once():
    federation = Federation(4)
    federation.run(strategy())
    for stage, reason in (("shares", "not in this stage"), ("update", "not in this stage"), ("unmask", "not in this")):
        with pytest.raises(ProtocolError, match=reason):
            federation.answer(federation.asked[stage][federation.nodes[0]])
    federation, shares, update = fresh_shares()
    federation.stage(shares)
    with pytest.raises(ProtocolError, match="given already"):
        federation.answer(federation.asked["shares"][federation.nodes[0]])
    federation.stage(update)
    with pytest.raises(ProtocolError, match="sent already"):
        federation.answer(federation.asked["update"][federation.nodes[0]])


def test_nobody_gives_both_secrets_of_a_neighbour():
    federation, shares, update = fresh_shares()
    federation.stage(shares)
    federation.stage(update)
    messages = list(
        federation.strategy.configure_train(1, to_array_record(BASE), ConfigRecord(), Grid(federation.nodes))
    )
    record = messages[0].content[RECORD]
    for came, gone in ((record["came"], record["came"][:1]), (record["came"][:1], []), ([], record["came"])):
        twisted = copy.deepcopy(messages[0])
        twisted.content[RECORD]["came"], twisted.content[RECORD]["gone"] = came, gone
        with pytest.raises(ProtocolError, match=r"either have come or be gone|cannot be unmasked"):
            federation.answer(twisted)
    federation.answer(messages[0])
    messages[0].content[RECORD]["gone"], messages[0].content[RECORD]["came"] = record["came"][:1], record["came"][1:]
    with pytest.raises(ProtocolError, match="not in this stage"):  # asked again with another list
        federation.answer(messages[0])


def test_letters_that_the_server_changed_or_swapped_stop_the_client_before_it_trains():
    for tamper in (
        lambda letters: [letters[1], letters[0], *letters[2:]],
        lambda letters: [letters[0][:-1] + bytes([letters[0][-1] ^ 1]), *letters[1:]],
    ):
        federation, shares, update = fresh_shares()
        federation.stage(shares)
        (message, *_) = federation.strategy.configure_stage(
            update, 1, to_array_record(BASE), ConfigRecord(), Grid(federation.nodes)
        )
        message.content[RECORD]["letters"] = tamper(message.content[RECORD]["letters"])
        federation.app = None
        with pytest.raises(ProtocolError, match="changed on the way"):
            federation.answer(message)


def test_two_are_too_few_and_so_is_a_low_threshold():
    federation = Federation(2)
    federation.strategy = strategy()
    keys, shares, _ = federation.strategy.stages(1)
    federation.stage(keys)
    with pytest.raises(ProtocolError, match="hides neither"):
        federation.stage(shares)
    federation, shares, _ = fresh_shares(6)
    (message, *_) = federation.strategy.configure_stage(
        shares, 1, to_array_record(BASE), ConfigRecord(), Grid(federation.nodes)
    )
    message.content[RECORD]["threshold"] = 2
    with pytest.raises(ProtocolError, match="more than half"):
        federation.answer(message)


def test_a_client_that_sends_rubbish_is_left_out_and_the_others_go_on():
    federation = Federation(6)
    federation.strategy = strategy()
    keys, shares, update = federation.strategy.stages(1)
    liars = federation.nodes[:2]

    def foreign_keys(reply):
        if reply.metadata.src_node_id == liars[0]:
            reply.content[RECORD]["nodes"] = ["11"]

    def no_letters(reply):
        if reply.metadata.src_node_id == liars[1]:
            reply.content[RECORD]["letters"] = []

    federation.stage(keys, tamper=foreign_keys)
    federation.stage(shares, tamper=no_letters)
    federation.stage(update)
    arrays, _ = federation.strategy.aggregate_train(1, federation.unmask())
    assert_is_mean(arrays, federation, federation.nodes[2:])


def test_a_changed_share_is_noticed_and_gives_no_model():
    federation = Federation(5)
    federation.strategy = strategy()
    for stage in federation.strategy.stages(1):
        federation.stage(stage)
    replies = federation.unmask()
    shares = replies[0].content[RECORD]["shares"]
    replies[0].content[RECORD]["shares"] = [bytes([share[0] ^ 1, *share[1:]]) for share in shares]
    with pytest.raises(ValueError, match=r"do not fit together|impossible weight"):
        federation.strategy.aggregate_train(1, replies)


@pytest.mark.parametrize("phase", ["train", "train.update"])
@pytest.mark.parametrize("said_by", ["run", "node"])
def test_a_server_that_just_asks_for_the_update_in_the_clear_does_not_get_it(phase, said_by):
    federation = Federation(4)
    node = federation.nodes[0]
    said = {"secure-aggregation": True}
    federation.contexts[node] = Context(
        1, node, said if said_by == "node" else {}, RecordDict(), said if said_by == "run" else {}
    )
    message = Message(RecordDict({"arrays": to_array_record(BASE)}), dst_node_id=node, message_type=phase)
    with pytest.raises(ProtocolError, match="in secret only"):
        federation.answer(message)


def test_without_secure_aggregation_an_update_is_sent_as_it_is_and_evaluation_is_never_in_secret():
    federation = Federation(4)
    node = federation.nodes[0]
    content = RecordDict({"arrays": to_array_record(BASE)})
    reply = federation.answer(Message(content, dst_node_id=node, message_type="train"))
    assert "arrays" in reply.content
    federation.contexts[node] = Context(1, node, {"secure-aggregation": True}, RecordDict(), {})
    asked = Message(content, dst_node_id=node, message_type="evaluate")
    assert federation.mod(asked, federation.contexts[node], lambda *_: "evaluated") == "evaluated"
