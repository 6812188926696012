"""Answers questions about its own numbers."""

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

client = ClientApp()


def numbers(context):
    return np.random.default_rng(context.node_config["partition-id"]).normal(size=50)


@client.query()
def about(msg: Message, context: Context) -> Message:
    values = numbers(context)
    bounds = MetricRecord({"low": float(values.min()), "high": float(values.max()), "each": [float(values[0]), 1.5]})
    identity = ConfigRecord(
        {
            "partition": context.node_config["partition-id"],
            "of": context.node_config["num-partitions"],
            "group": msg.metadata.group_id,
            "type": msg.metadata.message_type,
            "blob": bytes(range(4)),
            "flags": [True, False],
            "names": ["a", "b"],
        }
    )
    return Message(RecordDict({"bounds": bounds, "identity": identity}), reply_to=msg)


@client.query("histogram")
def histogram(msg: Message, context: Context) -> Message:
    edges = msg.content["edges"]["edges"].numpy()
    counts, _ = np.histogram(numbers(context), edges)
    arrays = ArrayRecord({"counts": Array(counts), "nothing": Array(np.zeros((0, 3), np.int8))})
    return Message(RecordDict({"counts": arrays}), reply_to=msg)


@client.train("my_action")
def my_action(msg: Message, context: Context) -> Message:
    if context.node_config["partition-id"] == 1:
        return Message(Error(code=123, reason="I would rather not"), reply_to=msg)
    return Message(RecordDict({"twice": MetricRecord({"x": 2 * msg.content["config"]["x"]})}), reply_to=msg)
