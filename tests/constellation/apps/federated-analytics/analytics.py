"""Asks for bounds, for histograms, and one message at a time with push and pull."""

import time

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MessageType, RecordDict
from flwr.serverapp import Grid, ServerApp

server = ServerApp()


@server.main()
def main(grid: Grid, context: Context) -> None:
    node_ids = sorted(grid.get_node_ids())
    assert sorted(node.node_id for node in grid.get_nodes()) == node_ids
    values = {}

    questions = [Message(RecordDict(), node, MessageType.QUERY, group_id="first") for node in node_ids]
    replies = list(grid.send_and_receive(questions, timeout=120))
    low = min(reply.content["bounds"]["low"] for reply in replies)
    high = max(reply.content["bounds"]["high"] for reply in replies)
    values["each"] = np.sort([reply.content["bounds"]["each"][0] for reply in replies])
    identities = [reply.content["identity"] for reply in replies]
    assert all(item["group"] == "first" and item["type"] == "query" for item in identities)
    assert all(item["blob"] == b"\0\1\2\3" for item in identities)
    assert all(item["flags"] == [True, False] and item["names"] == ["a", "b"] for item in identities)
    assert all(item["of"] == len(node_ids) for item in identities)
    assert sorted(reply.metadata.src_node_id for reply in replies) == node_ids
    values["partitions"] = np.array(sorted(item["partition"] for item in identities))

    edges = ArrayRecord({"edges": Array(np.linspace(low, high, context.run_config["bins"] + 1))})
    pending = set(grid.push_messages([Message(RecordDict({"edges": edges}), n, "query.histogram") for n in node_ids]))
    counts = np.zeros(context.run_config["bins"], np.int64)
    while pending:
        for reply in grid.pull_messages(pending):
            assert reply.content["counts"]["nothing"].numpy().shape == (0, 3)
            counts += reply.content["counts"]["counts"].numpy()
            pending.remove(reply.metadata.reply_to_message_id)
        time.sleep(0.01)
    values["counts"] = counts

    content = RecordDict({"config": ConfigRecord({"x": 21})})
    replies = grid.send_and_receive([Message(content, node, "train.my_action", ttl=100.0) for node in node_ids])
    good = [reply for reply in replies if reply.has_content()]
    bad = [reply for reply in replies if reply.has_error()]
    values["twice"] = np.array([reply.content["twice"]["x"] for reply in good])
    values["errors"] = np.array([reply.error.code for reply in bad])
    assert [reply.error.reason for reply in bad] == ["I would rather not"]

    replies = grid.send_and_receive([Message(content, node, "evaluate.unheard_of") for node in node_ids])
    values["unheard"] = np.array([reply.has_error() for reply in replies])
    if context.run_config["output"]:
        np.savez(context.run_config["output"], **values)
