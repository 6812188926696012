"""Each attack does what it says, from where a real one would."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from flwr.app import ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from client.attacks import forging, hostile_mods
from client.hostile import hostile_clients
from client.poisoned_data import FlippedLabels, poisoned_data, stamp
from client.signing_mod import ClientIdentity
from shared.config import RunConfig
from shared.config_ranges import ATTACKS
from shared.datasets.client_data import TensorClientData
from shared.datasets.dataset import Examples
from shared.errors import ConfigError
from shared.records import decode_records, encode_records, from_array_record, to_array_record

GLOBAL = {"w": np.array([[1.0, 2.0]], np.float32), "steps": np.array(3, np.int64)}
TRAINED = {"w": np.array([[1.5, 1.0]], np.float32), "steps": np.array(4, np.int64)}
METRICS = {"num-examples": 7, "loss": 0.5}


@pytest.fixture(autouse=True)
def identity(monkeypatch):
    for name in ("_run_id", "_node_id", "_task_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)


def config(*attack: str, num_clients: int = 5, signatures: bool = True) -> RunConfig:
    return RunConfig(attack=attack, num_clients=num_clients, signatures=signatures)


def context(partition_id: int, state: RecordDict | None = None) -> Context:
    return Context(1, 100 + partition_id, {"partition-id": partition_id}, state or RecordDict(), {})


def request(message_type: str = "train") -> Message:
    content = RecordDict({"arrays": to_array_record(GLOBAL), "config": ConfigRecord({"server-round": 1})})
    message = Message(content, dst_node_id=100, message_type=message_type)
    message.metadata.__dict__["_message_id"] = "m"
    return message


class HonestApp:
    """Counts its calls, and says which call a reply is of."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, message: Message, context: Context) -> Message:
        self.calls += 1
        metrics = MetricRecord({**METRICS, "call": self.calls})
        return Message(RecordDict({"arrays": to_array_record(TRAINED), "metrics": metrics}), reply_to=message)


def played(attack: str, message: Message, context: Context, app: Callable[..., Message] | None = None) -> Message:
    """Let client 4 of five, the hostile one, answer."""
    outer, inner = hostile_mods(config(f"{attack}:1"))
    (mod,) = [*outer, *inner]
    return mod(message, context, app or HonestApp())


def arrays_of(reply: Message) -> dict[str, np.ndarray]:
    return from_array_record(reply.content["arrays"])


def test_last_clients_are_hostile_in_the_order_of_the_list():
    assert hostile_clients(config("forge:1", "nan:2")) == {"client-4": "forge", "client-3": "nan", "client-2": "nan"}
    assert hostile_clients(config("scale:5")) == {f"client-{i}": "scale" for i in range(5)}
    assert hostile_clients(config()) == {}


def test_without_attacks_there_are_no_mods_and_no_changes():
    assert hostile_mods(config()) == ([], [])

    def identity_of(context: Context) -> ClientIdentity:
        raise AssertionError

    assert forging(config(), identity_of) is identity_of


@pytest.mark.parametrize("attack", ATTACKS)
def test_honest_clients_are_not_touched(attack):
    outer, inner = hostile_mods(config(f"{attack}:1"))
    app = HonestApp()
    for mod in [*outer, *inner]:
        for _ in range(2):
            reply = mod(request(), context(3), app)
            assert arrays_of(reply)["w"].tolist() == TRAINED["w"].tolist()
            assert reply.content["metrics"]["num-examples"] == 7


@pytest.mark.parametrize("attack", ["nan", "scale", "sign-flip", "shape", "num-examples"])
def test_attacks_on_the_content_stand_inside_the_signature_and_the_others_outside(attack):
    outer, inner = hostile_mods(config(f"{attack}:1"))
    assert (len(outer), len(inner)) == (0, 1)
    outer, inner = hostile_mods(config("replay:1", "silent:1"))
    assert (len(outer), len(inner)) == (1, 0)


def test_nan_is_one_value_among_good_ones():
    w = arrays_of(played("nan", request(), context(4)))["w"]
    assert np.isnan(w[0, 0])
    assert w[0, 1] == 1.0


# The change is (+0.5, -1); the counter of whole numbers is left as it is.
@pytest.mark.parametrize(("attack", "wanted"), [("scale", [[501.0, -998.0]]), ("sign-flip", [[0.5, 3.0]])])
def test_change_to_the_global_model_is_multiplied(attack, wanted):
    arrays = arrays_of(played(attack, request(), context(4)))
    assert arrays["w"].tolist() == wanted
    assert arrays["w"].dtype == np.float32
    assert arrays["steps"] == 4


def test_shape_has_an_axis_too_many():
    assert arrays_of(played("shape", request(), context(4)))["w"].shape == (1, 1, 2)


def test_num_examples_claims_a_million_millions():
    metrics = played("num-examples", request(), context(4)).content["metrics"]
    assert (metrics["num-examples"], metrics["loss"]) == (10**12, 0.5)


@pytest.mark.parametrize("attack", ["nan", "scale", "sign-flip", "shape", "num-examples"])
def test_evaluate_replies_and_errors_pass_unchanged(attack):
    reply = played(attack, request("evaluate"), context(4))
    assert arrays_of(reply)["w"].tolist() == TRAINED["w"].tolist()
    assert reply.content["metrics"]["num-examples"] == 7
    failed = played(attack, request(), context(4), lambda message, _: Message(Error(2, "no"), reply_to=message))
    assert failed.has_error()


@pytest.mark.parametrize("attack", ["nan", "scale", "sign-flip", "shape"])
def test_request_is_left_as_it_was(attack):
    message = request()
    played(attack, message, context(4))
    assert arrays_of(message)["w"].tolist() == GLOBAL["w"].tolist()


def test_replay_is_honest_once_and_resends_that_from_any_worker():
    app = HonestApp()
    first_context = context(4)
    first = played("replay", request(), first_context, app)
    elsewhere = context(4, decode_records(encode_records(first_context.state)))
    second = played("replay", request(), elsewhere, app)
    assert app.calls == 1
    assert encode_records(second.content) == encode_records(first.content)


def test_replay_keeps_train_and_evaluate_apart():
    app = HonestApp()
    own = context(4)
    train = played("replay", request(), own, app)
    evaluate = played("replay", request("evaluate"), own, app)
    assert (train.content["metrics"]["call"], evaluate.content["metrics"]["call"]) == (1, 2)
    assert played("replay", request("evaluate"), own, app).content["metrics"]["call"] == 2
    assert played("replay", request(), own, app).content["metrics"]["call"] == 1


def test_silent_answers_with_an_error_and_does_no_work():
    app = HonestApp()
    reply = played("silent", request(), context(4), app)
    assert reply.has_error()
    assert app.calls == 0


@pytest.fixture(scope="module")
def honest_key():
    return generate_private_key(65537, 2048)


def test_forger_signs_under_the_name_of_the_enrolled_key_with_another(honest_key):
    def identity_of(context: Context) -> ClientIdentity:
        return ClientIdentity(client_id=f"client-{context.node_config['partition-id']}", key=honest_key, key_id="abc")

    forged = forging(config("forge:1"), identity_of)
    assert forged(context(3)).key is honest_key
    forger = forged(context(4))
    assert (forger.client_id, forger.key_id) == ("client-4", "abc")
    assert forger.key.public_key().public_numbers() != honest_key.public_key().public_numbers()
    assert forged(context(4)).key is forger.key


def test_forging_without_signatures_is_refused():
    with pytest.raises(ConfigError, match="attack forge needs signatures on"):
        hostile_clients(config("forge:1", signatures=False))


def test_labels_are_flipped_in_training_only():
    examples = Examples(inputs=np.zeros((10, 2), np.float32), labels=np.arange(10), normalization=None)
    everything = np.arange(10)
    honest = TensorClientData(examples, everything, examples, everything)
    alter = poisoned_data(config("label-flip:1"), 10, (2,))
    assert alter(3, honest) is honest
    data = alter(4, honest)
    assert isinstance(data, FlippedLabels)
    assert (data.num_examples, data.num_test_examples) == (10, 10)
    order = [torch.cat([y for _, y in d.train_batches(3, np.random.default_rng(1))]) for d in (honest, data)]
    assert torch.equal(order[0] + order[1], torch.full((10,), 9))
    assert torch.equal(next(iter(data.test_batches(10)))[1], torch.arange(10))


def test_every_attack_the_settings_allow_does_something():
    for attack in ATTACKS:
        outer, inner = hostile_mods(config(f"{attack}:1"))
        assert outer or inner or attack in ("forge", "label-flip")


def test_boosted_backdoor_replaces_the_model_of_a_mean():
    # One of five clients: the mean divides by 5, so the change is made 5 times as long.
    arrays = arrays_of(played("backdoor", request(), context(4)))
    assert arrays["w"].tolist() == [[1.0 + 5 * 0.5, 2.0 - 5 * 1.0]]


def test_trigger_is_a_bright_square_in_the_corner():
    inputs = torch.zeros(2, 1, 28, 28)
    inputs[0, 0, 3, 3] = 2.5
    stamped = stamp(inputs)
    assert stamped[:, :, 23:27, 23:27].min() == 2.5
    assert stamped.sum() == 2.5 * (2 * 16 + 1)
    assert inputs.sum() == 2.5


def test_backdoored_data_is_half_honest_and_tests_honestly():
    examples = Examples(
        inputs=np.random.default_rng(0).random((10, 1, 28, 28)).astype(np.float32),
        labels=np.arange(10),
        normalization=None,
    )
    everything = np.arange(10)
    honest = TensorClientData(examples, everything, examples, everything)
    data = poisoned_data(config("backdoor:1"), 10, (1, 28, 28))(4, honest)
    assert (data.num_examples, data.num_test_examples) == (10, 10)
    pairs = zip(
        honest.train_batches(4, np.random.default_rng(1)), data.train_batches(4, np.random.default_rng(1)), strict=True
    )
    for (inputs, labels), (poisoned, targets) in pairs:
        half = len(labels) // 2
        assert (targets[:half] == 0).all() and torch.equal(targets[half:], labels[half:])
        assert torch.equal(poisoned[:half], stamp(inputs)[:half]) and torch.equal(poisoned[half:], inputs[half:])
    assert torch.equal(next(iter(data.test_batches(10)))[1], torch.arange(10))


def test_backdoor_needs_images():
    with pytest.raises(ConfigError, match="attack backdoor stamps a trigger on images"):
        poisoned_data(config("backdoor:1"), 10, (20,))


def test_records_of_other_names_are_attacked_too():
    message = request()
    message.content["control"] = to_array_record(GLOBAL)

    def app(message: Message, context: Context) -> Message:
        content = {"control": to_array_record(TRAINED), "more": MetricRecord({"num-examples": 1})}
        return Message(RecordDict(content), reply_to=message)

    assert from_array_record(played("sign-flip", message, context(4), app).content["control"])["w"].tolist() == [
        [0.5, 3]
    ]
    claimed = played("num-examples", message, context(4), app).content["more"]
    assert claimed["num-examples"] == 10**12
