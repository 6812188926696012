"""The Flower ClientApp: unpacks a message, lets the runtime train or evaluate, packs the reply.

``app`` is what ``flwr run`` loads on a stock SuperNode; simulations build theirs with ``build_client_app`` around a
runtime whose data is already in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.typing import ClientAppCallable, Mod

from client.packing_mod import packing_mod
from client.privacy.budget import PrivateData
from client.privacy.place import OWN_DATASET, PrivateDataOf, private_data_from_node_config
from client.runtime import OVERRIDES, ClientRuntime
from client.secagg_mod import make_secagg_mod
from client.signing_mod import (
    MAX_REQUEST_AGE_S,
    identity_from_node_config,
    make_signing_mod,
    peers_from_node_config,
    server_key_from_node_config,
)
from shared.config import RunConfig, Scalar, from_mapping
from shared.datasets.federated import federate
from shared.errors import ConfigError, PrivacyRefused, ProtocolError
from shared.plugins import is_plugin
from shared.privacy.reply import REFUSAL_DETAIL, REFUSAL_REASON, REFUSAL_RECORD
from shared.records import from_array_record, metric_record, record_dict, to_array_record
from shared.run_order import settings_in
from shared.secagg.protocol import KEYS, SHARES, UPDATE

ARRAYS, CONFIG, METRICS = "arrays", "config", "metrics"  # names of the records on the wire
# Of the node's config: what this machine decides for itself.
OWN_DATA_DIR, OWN_BATCH_SIZE = "own-data-dir", "own-batch-size"
REFUSE_PLUGINS = "refuse-plugins"
RuntimeOf = Callable[[Context], ClientRuntime]


def build_client_app(
    runtime: ClientRuntime, mods: Sequence[Mod] = (), private_data_of: PrivateDataOf | None = None
) -> ClientApp:
    """Build a ClientApp around a runtime; ``mods`` stand outermost first, as Flower's do."""
    return _build(lambda _: runtime, mods, private_data_of)


def _build(runtime_of: RuntimeOf, mods: Sequence[Mod], private_data_of: PrivateDataOf | None) -> ClientApp:
    app = ClientApp(mods=list(mods))

    @app.train()
    def train(message: Message, context: Context) -> Message:
        try:
            private = private_data_of(context) if private_data_of else None
            return train_reply(message, context, runtime_of(context), private)
        except PrivacyRefused as refusal:
            return refusal_reply(message, refusal)

    # The stages of secure aggregation: Flower wants a function for each message type before it lets a mod answer.
    app.train(UPDATE)(train)
    for stage in (KEYS, SHARES):
        app.train(stage)(_no_stage)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        return evaluate_reply(message, context, runtime_of(context))

    return app


def _no_stage(message: Message, context: Context) -> Message:
    """Refuse a stage of secure aggregation that no mod has answered."""
    del context
    raise ProtocolError(
        f"this client does not take part in secure aggregation: nobody here answers {message.metadata.message_type}"
    )


def train_reply(
    message: Message, context: Context, runtime: ClientRuntime, private: PrivateData | None = None
) -> Message:
    """Train the model of a message and answer with the client's whole model and its metrics.

    Raises:
        ConfigError: The message lacks its arrays, or they or its settings are not what the client can use.
        PrivacyRefused: The client's privacy budget is spent, or its ledger cannot be trusted.
    """
    config = _config_of(message)
    arrays, result = runtime.train(
        from_array_record(_arrays_of(message)),
        partition_id=partition_of(context),
        server_round=_round_of(config),
        overrides={
            key: value
            for key, value in config.items()
            if key in OVERRIDES and isinstance(value, bool | int | float | str)
        },
        private=private,
    )
    metrics = metric_record(
        {
            "num-examples": result.num_examples,
            "num-steps": result.num_steps,
            "loss": result.loss,
            "accuracy": result.accuracy,
            **(result.privacy.to_metrics() if result.privacy else {}),
        }
    )
    return Message(record_dict({ARRAYS: to_array_record(arrays), METRICS: metrics}), reply_to=message)


def refusal_reply(message: Message, refusal: PrivacyRefused) -> Message:
    """Answer that this client does not train, and why: a reply like any other, so that it is signed."""
    record = ConfigRecord({REFUSAL_REASON: refusal.reason, REFUSAL_DETAIL: str(refusal)})
    return Message(RecordDict({REFUSAL_RECORD: record}), reply_to=message)


def evaluate_reply(message: Message, context: Context, runtime: ClientRuntime) -> Message:
    """Evaluate the model of a message on the client's own test data.

    A client without test data answers with ``num-examples`` 0 and a loss and accuracy of 0: the keys are those of
    everybody's reply, and a mean weighted by examples leaves it out.

    Raises:
        ConfigError: The message lacks its arrays, or they are not this model's.
    """
    metrics = runtime.evaluate(from_array_record(_arrays_of(message)), partition_id=partition_of(context))
    has_examples = metrics.num_examples > 0
    record = MetricRecord(
        {
            "num-examples": metrics.num_examples,
            "loss": metrics.loss if has_examples else 0.0,
            "accuracy": metrics.accuracy if has_examples else 0.0,
        }
    )
    return Message(RecordDict({METRICS: record}), reply_to=message)


def partition_of(context: Context) -> int:
    """Read which partition of the data this client has.

    Raises:
        ConfigError: The node's config does not say so.
    """
    if context.node_config.get(OWN_DATASET):
        return 0  # used whole
    partition_id = context.node_config.get("partition-id")
    if type(partition_id) is not int:
        raise ConfigError(
            f"partition-id in the node's config must be a whole number, got {partition_id!r}; "
            "start the SuperNode with --node-config 'partition-id=0 num-partitions=2'"
        )
    return partition_id


def on_this_node(config: RunConfig, node_config: Mapping[str, Scalar]) -> RunConfig:
    """Let the node's own decisions win over the run's settings.

    Raises:
        ConfigError: A decision is out of range, or the run wants code imported that this node does not allow.
    """
    if node_config.get(REFUSE_PLUGINS) is True:
        for key, name in (("model", config.model), ("dataset", config.dataset)):
            if is_plugin(name):
                raise ConfigError(
                    f"{key} {name!r} is code that this client does not import; start it with --allow-plugins"
                )
    own: dict[str, Scalar] = {}
    if OWN_DATA_DIR in node_config:
        own["data-dir"] = node_config[OWN_DATA_DIR]
    if OWN_BATCH_SIZE in node_config:
        own["batch-size"] = node_config[OWN_BATCH_SIZE]
    return from_mapping(own, where="the node's config", base=config) if own else config


def data_settings(config: RunConfig, node_config: Mapping[str, Scalar]) -> RunConfig:
    """Return the settings that load this node's data: a part of the run's data set, or its own, which is used whole."""
    own = node_config.get(OWN_DATASET)
    if not own:
        return config
    return RunConfig(dataset=str(own), data_dir=config.data_dir, num_clients=1, partition="iid", seed=config.seed)


def runtime_from_context() -> RuntimeOf:
    """Return a function that builds the runtime a context describes, and keeps the last one.

    On a stock SuperNode nothing is in memory yet: the settings are the run's, the number of clients is the node's.
    """
    kept: dict[tuple[tuple[str, Scalar], ...], ClientRuntime] = {}

    def runtime_of(context: Context) -> ClientRuntime:
        key = (*sorted(settings_in(context.run_config).items()), *sorted(context.node_config.items()))
        if key not in kept:
            config = from_mapping(settings_in(context.run_config), where="the run's config")
            num_partitions = context.node_config.get("num-partitions", config.num_clients)
            if type(num_partitions) is not int:
                raise ConfigError(f"num-partitions in the node's config must be a whole number, got {num_partitions!r}")
            config = on_this_node(replace(config, num_clients=num_partitions), context.node_config)
            kept.clear()  # one run at a time is in memory
            kept[key] = ClientRuntime(config, federate(data_settings(config, context.node_config)))
        return kept[key]

    return runtime_of


def _arrays_of(message: Message) -> ArrayRecord:
    record = message.content.get(ARRAYS)
    if not isinstance(record, ArrayRecord):
        raise ConfigError(f"the server's message has no array record {ARRAYS!r}; it holds {', '.join(message.content)}")
    return record


def _config_of(message: Message) -> ConfigRecord:
    record = message.content.get(CONFIG)
    return record if isinstance(record, ConfigRecord) else ConfigRecord()


def _round_of(config: ConfigRecord) -> int:
    server_round = config.get("server-round", 0)
    if type(server_round) is not int or server_round < 0:
        raise ConfigError(f"server-round in the server's config must be a whole number from 0 up, got {server_round!r}")
    return server_round


def _signing_mod() -> Mod:
    """Make the mod that signs with the key of the node's config, where the run's ``signatures`` is on.

    A node that was given a key signs and verifies always: no server can talk it out of that by its settings.
    """
    sign = make_signing_mod(identity_from_node_config, server_key_from_node_config, max_age_s=MAX_REQUEST_AGE_S)

    def mod(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        is_off = context.run_config.get("signatures", True) is False and not context.node_config.get("key-path")
        return call_next(message, context) if is_off else sign(message, context, call_next)

    return mod


# Attacks are for simulations: the client of a deployment is never hostile because its server's settings say so.
app = _build(
    runtime_from_context(),
    [packing_mod, _signing_mod(), make_secagg_mod(identity_from_node_config, peers_from_node_config)],
    private_data_from_node_config,
)
