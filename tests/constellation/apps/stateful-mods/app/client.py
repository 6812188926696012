"""A client that keeps a personal layer and a log in its context.state, under two mods and a lifespan."""

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.mod import fixedclipping_mod  # noqa: F401 - imported as in many an app that does not use it


def count_mod(msg, context, call_next):
    """Count messages in the state, before and after."""
    counts = context.state.get("counts", MetricRecord({"in": 0, "out": 0}))
    counts["in"] += 1
    reply = call_next(msg, context)
    counts["out"] += 1
    context.state["counts"] = counts
    reply.content["counts"] = MetricRecord(dict(counts))
    return reply


def scale_mod(msg, context, call_next):
    """Halve what the client trained."""
    reply = call_next(msg, context)
    for name, array in list(reply.content["arrays"].items()):
        reply.content["arrays"][name] = type(array)(array.numpy() * np.float32(0.5))
    return reply


client_app = ClientApp(mods=[count_mod])


@client_app.lifespan()
def lifespan(context: Context):
    entered = context.state.get("lifespan", MetricRecord({"entered": 0, "left": 0}))
    entered["entered"] += 1
    context.state["lifespan"] = entered
    yield
    context.state["lifespan"]["left"] += 1


@client_app.train(mods=[scale_mod])
def train(msg: Message, context: Context) -> Message:
    node = context.node_config["partition-id"]
    personal = context.state.get("personal", ArrayRecord([np.full(5, node, np.float64)]))
    layer = personal["0"].numpy()
    model = msg.content["arrays"]["w"].numpy()
    model += 1 + node + layer[0].astype(np.float32)
    context.state["personal"] = ArrayRecord([layer * 1.5 + 1])
    log = context.state.get("log", ConfigRecord({"rounds": [], "name": b"\x00client"}))
    log["rounds"] = [*log["rounds"], msg.content["config"]["server-round"]]
    context.state["log"] = log
    arrays = ArrayRecord({"w": type(msg.content["arrays"]["w"])(model)})
    metrics = MetricRecord({"num-examples": 1 + node, "rounds": len(log["rounds"])})
    return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=msg)


@client_app.evaluate()
def evaluate(msg: Message, context: Context) -> Message:
    seen = context.state["lifespan"]
    metrics = MetricRecord(
        {
            "num-examples": 1,
            "personal": float(context.state["personal"]["0"].numpy().sum()),
            "entered": seen["entered"],
            "left": seen["left"],
            "rounds": sum(context.state["log"]["rounds"]),
        }
    )
    return Message(RecordDict({"metrics": metrics}), reply_to=msg)
