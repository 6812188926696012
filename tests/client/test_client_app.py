"""The ClientApp as Flower calls it: a message and a context in, a reply out."""

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from client.client_app import app, build_client_app, runtime_from_context
from client.poisoned_data import poisoned_data
from client.runtime import ClientRuntime
from shared.config import RunConfig
from shared.crypto.keys import KeyStore
from shared.datasets.client_data import TensorClientData
from shared.datasets.dataset import Dataset
from shared.datasets.federated import TensorFederation, federate_dataset
from shared.errors import ConfigError, DatasetError, KeyStoreError, RequestRefused
from shared.models.catalog import build_model
from shared.records import from_array_record, to_array_record

CONFIG = RunConfig(model="linear", num_clients=2, batch_size=4, partition="iid", device="cpu", seed=11)


def small_federation(config: RunConfig = CONFIG) -> TensorFederation:
    """40 training and 10 test images of 2 x 2 pixels in three classes."""
    generator = torch.Generator().manual_seed(4)
    dataset = Dataset(
        name="small",
        train_inputs=torch.rand(40, 1, 2, 2, generator=generator),
        train_labels=torch.arange(40) % 3,
        test_inputs=torch.rand(10, 1, 2, 2, generator=generator),
        test_labels=torch.arange(10) % 3,
        class_names=("a", "b", "c"),
    )
    return federate_dataset(dataset, config)


@pytest.fixture(autouse=True)
def identity(monkeypatch):
    for name in ("_run_id", "_node_id", "_task_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)


@pytest.fixture
def runtime() -> ClientRuntime:
    return ClientRuntime(CONFIG, small_federation())


def context(partition_id: object = 0) -> Context:
    return Context(
        run_id=1,
        node_id=77,
        node_config={"partition-id": partition_id},
        state=RecordDict(),
        run_config=CONFIG.as_flat(),
    )


def request(kind: str = "train", **config: object) -> Message:
    model = build_model(CONFIG.model, (1, 2, 2), 3, CONFIG.seed)
    arrays = to_array_record({name: value.numpy() for name, value in model.state_dict().items()})
    content = RecordDict({"arrays": arrays, "config": ConfigRecord({"server-round": 1} | config)})
    message = Message(content, dst_node_id=77, message_type=kind)
    message.metadata.__dict__["_message_id"] = "m1"
    return message


def values(reply: Message) -> list[np.ndarray]:
    return [array.copy() for array in from_array_record(reply.content["arrays"]).values()]


def equal(first: Message, second: Message) -> bool:
    return all(map(np.array_equal, values(first), values(second)))


def test_train_reply_holds_the_whole_model_and_its_metrics(runtime):
    asked = request()
    reply = build_client_app(runtime)(asked, context())
    assert set(reply.content) == {"arrays", "metrics"}
    received, sent = from_array_record(asked.content["arrays"]), from_array_record(reply.content["arrays"])
    assert {k: (v.shape, v.dtype) for k, v in received.items()} == {k: (v.shape, v.dtype) for k, v in sent.items()}
    assert not np.array_equal(received["fc.weight"], sent["fc.weight"])
    metrics = reply.content["metrics"]
    assert isinstance(metrics, MetricRecord)
    assert set(metrics) == {"num-examples", "num-steps", "loss", "accuracy"}
    assert metrics["num-examples"] == 20
    assert metrics["num-steps"] >= 1
    assert 0 < metrics["loss"] < 3
    assert 0 <= metrics["accuracy"] <= 1


def test_reply_is_bit_equal_whatever_the_process_did_before(runtime):
    app = build_client_app(runtime)
    asked = request()
    first = app(asked, context())
    app(asked, context(1))
    app(request("evaluate"), context(1))
    fresh = ClientRuntime(CONFIG, small_federation())
    assert equal(app(asked, context()), first)
    assert equal(build_client_app(fresh)(asked, context()), first)


def test_reply_of_one_client_is_not_overwritten_by_the_next(runtime):
    app = build_client_app(runtime)
    asked = request()
    first = app(asked, context())
    before = values(first)
    app(asked, context(1))
    assert all(map(np.array_equal, before, values(first)))


def test_clients_and_rounds_shuffle_differently(runtime):
    app = build_client_app(runtime)
    reply = app(request(), context())
    assert not equal(reply, app(request(), context(1)))
    later = request()
    later.content["config"]["server-round"] = 2
    assert not equal(reply, app(later, context()))


@pytest.mark.parametrize(
    ("key", "value"), [("learning-rate", 0.01), ("local-epochs", 3), ("local-steps", 2), ("proximal-mu", 5.0)]
)
def test_config_of_the_message_overrides_the_runs(runtime, key, value):
    overridden = build_client_app(runtime)(request(**{key: value}), context())
    field = key.replace("-", "_")
    configured = ClientRuntime(replace(CONFIG, **{field: value}), small_federation())
    assert equal(overridden, build_client_app(configured)(request(), context()))
    assert not equal(overridden, build_client_app(runtime)(request(), context()))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"learning-rate": -1.0}, "learning-rate must be above 0, got -1.0"),
        ({"learning-rate": "fast"}, "learning-rate in the server's config must be a number"),
        ({"local-steps": math.inf}, "local-steps in the server's config must be a whole number"),
        ({"server-round": -1}, "server-round in the server's config must be a whole number"),
        ({"server-round": "one"}, "server-round in the server's config must be a whole number"),
    ],
)
def test_config_that_makes_no_sense_is_refused(runtime, config, message):
    with pytest.raises(ConfigError, match=message):
        build_client_app(runtime)(request(**config), context())


@pytest.mark.parametrize("key", ["dataset", "output", "key-dir", "batch-size", "no-such-key"])
def test_server_cannot_change_other_settings(runtime, key):
    plain = build_client_app(runtime)(request(), context())
    assert equal(plain, build_client_app(runtime)(request(**{key: "/etc"}), context()))


def test_message_without_config_is_served(runtime):
    asked = request()
    del asked.content["config"]
    assert build_client_app(runtime)(asked, context()).content["metrics"]["num-examples"] == 20


def test_message_without_arrays_is_refused(runtime):
    asked = request()
    del asked.content["arrays"]
    with pytest.raises(ConfigError, match="has no array record 'arrays'; it holds config"):
        build_client_app(runtime)(asked, context())


def test_model_of_another_shape_is_refused(runtime):
    asked = request()
    asked.content["arrays"] = ArrayRecord({"fc.weight": asked.content["arrays"]["fc.weight"]})
    with pytest.raises(ConfigError, match=r"not this model's: fc\.bias"):
        build_client_app(runtime)(asked, context())


@pytest.mark.parametrize("partition_id", [None, "0", 0.0, True])
def test_partition_that_is_no_whole_number_is_refused(runtime, partition_id):
    with pytest.raises(ConfigError, match="partition-id in the node's config must be a whole number"):
        build_client_app(runtime)(request(), context(partition_id))


@pytest.mark.parametrize("partition_id", [-1, 2])
def test_partition_that_is_not_there_is_refused(runtime, partition_id):
    with pytest.raises(DatasetError, match="partition-id"):
        build_client_app(runtime)(request(), context(partition_id))


def test_evaluate_reply_holds_the_metrics_of_the_clients_own_test_data(runtime):
    replies = [build_client_app(runtime)(request("evaluate"), context(i)) for i in (0, 1)]
    counts = [reply.content["metrics"]["num-examples"] for reply in replies]
    assert all(count > 0 for count in counts)
    assert sum(counts) == 10
    for reply in replies:
        assert set(reply.content) == {"metrics"}
        assert set(reply.content["metrics"]) == {"num-examples", "loss", "accuracy"}


@dataclass
class WithoutTestData:
    """A federation whose clients have no test data."""

    inner: TensorFederation

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)

    def client(self, partition_id: int) -> TensorClientData:
        data = self.inner.client(partition_id)
        data._test_indices = np.zeros(0, np.int64)
        return data


def test_client_without_test_data_answers_with_no_examples():
    runtime = ClientRuntime(CONFIG, WithoutTestData(small_federation()))
    reply = build_client_app(runtime)(request("evaluate"), context())
    assert dict(reply.content["metrics"]) == {"num-examples": 0, "loss": 0.0, "accuracy": 0.0}


def test_mods_are_called_outermost_first(runtime):
    called = []

    def mod(name):
        def wrapped(message, context, call_next):
            called.append(name)
            return call_next(message, context)

        return wrapped

    build_client_app(runtime, [mod("outer"), mod("inner")])(request(), context())
    assert called == ["outer", "inner"]


def test_runtime_from_a_context_takes_the_runs_settings_and_the_nodes_number_of_clients():
    runtime_of = runtime_from_context()
    config = replace(CONFIG, dataset="mnist-sample", num_clients=3)
    node = Context(1, 5, {"partition-id": 0, "num-partitions": 4}, RecordDict(), config.as_flat())
    runtime = runtime_of(node)
    assert runtime.config == replace(config, num_clients=4)
    assert runtime.data.num_clients == 4
    assert runtime_of(node) is runtime
    node.run_config["seed"] = 12
    assert runtime_of(node) is not runtime


def test_runtime_trains_on_what_the_clients_data_was_altered_to():
    flipped = replace(CONFIG, attack=("label-flip:1",))
    hostile = ClientRuntime(CONFIG, small_federation(), alter=poisoned_data(flipped, 3, (2,)))
    honest = ClientRuntime(CONFIG, small_federation())
    for partition_id, is_equal in ((0, True), (1, False)):
        replies = [build_client_app(runtime)(request(), context(partition_id)) for runtime in (honest, hostile)]
        assert equal(*replies) is is_equal


@pytest.mark.parametrize("settings", [{"signatures": True}, {}, {"signatures": 0}, {"signatures": "false"}])
def test_stock_client_without_a_key_trains_only_where_signatures_are_off(settings):
    node = Context(1, 77, {"partition-id": 0}, RecordDict(), settings)
    with pytest.raises(KeyStoreError, match="key-path"):
        app(request(), node)


def test_stock_client_with_a_key_cannot_be_talked_out_of_signing(tmp_path):
    store = KeyStore(tmp_path / "keys", key_bits=2048)
    store.export_public("server", store.load_or_create("server"))
    node_config = {"partition-id": 0, "key-path": str(store.private_path("server"))}
    node = Context(1, 77, node_config, RecordDict(), {"signatures": False})
    with pytest.raises(RequestRefused, match="not signed"):
        app(request(), node)


def test_stock_client_trains_unsigned_where_nobody_signs():
    config = replace(CONFIG, dataset="mnist-sample", signatures=False, num_clients=2, local_steps=1)
    node = Context(1, 77, {"partition-id": 1, "num-partitions": 2}, RecordDict(), config.as_flat())
    model = build_model(config.model, (1, 28, 28), 10, config.seed)
    message = request()
    message.content["arrays"] = to_array_record({k: v.numpy() for k, v in model.state_dict().items()})
    assert app(message, node).content["metrics"]["num-examples"] == 4000
