"""Every third client has a bug."""

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.train()
def train(msg: Message, context: Context) -> Message:
    node = context.node_config["partition-id"]
    attempts = context.state.get("attempts", MetricRecord({"n": 0}))
    if context.run_config["fail"] == "all" or (context.run_config["fail"] == "some" and node % 3 == 1):
        raise ValueError(f"partition {node} has no data")
    attempts["n"] += 1
    context.state["attempts"] = attempts
    arrays = ArrayRecord({"w": Array(msg.content["arrays"]["w"].numpy() + node + attempts["n"])})
    return Message(RecordDict({"arrays": arrays, "m": MetricRecord({"num-examples": 1 + node})}), reply_to=msg)


@app.evaluate()
def evaluate(msg: Message, context: Context) -> Message:
    if context.run_config["fail"] == "all":
        raise ValueError("no data at all")
    loss = float(np.sum(msg.content["arrays"]["w"].numpy()))
    return Message(RecordDict({"m": MetricRecord({"num-examples": 1, "loss": loss})}), reply_to=msg)
