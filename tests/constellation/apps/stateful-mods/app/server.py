"""FedAvg by its steps, with what the clients say of themselves."""

import numpy as np
from flwr.app import Array, ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

server_app = ServerApp()
LIVES = []


@server_app.lifespan()
def lifespan(context: Context):
    LIVES.append("in")
    yield
    LIVES.append("out")
    context.state["lives"] = MetricRecord({"events": len(LIVES)})


class Keep(FedAvg):
    """FedAvg that keeps the counts which the clients' mod adds to each reply."""

    counts = 0

    def aggregate_train(self, server_round, replies):
        replies = list(replies)
        Keep.counts += sum(reply.content["counts"]["in"] + 10 * reply.content["counts"]["out"] for reply in replies)
        for reply in replies:
            del reply.content["counts"]
        return super().aggregate_train(server_round, replies)

    def aggregate_evaluate(self, server_round, replies):
        replies = list(replies)
        for reply in replies:
            del reply.content["counts"]
        return super().aggregate_evaluate(server_round, replies)


@server_app.main()
def main(grid: Grid, context: Context) -> None:
    Keep.counts = 0
    rounds = context.run_config["num-server-rounds"]
    arrays = ArrayRecord({"w": Array(np.zeros(9, np.float32))})
    result = Keep().start(grid=grid, initial_arrays=arrays, num_rounds=rounds)
    values = {"w": result.arrays["w"].numpy(), "counts": np.array(Keep.counts)}
    for server_round, metrics in result.evaluate_metrics_clientapp.items():
        values[f"evaluate.{server_round}"] = np.array([metrics[key] for key in sorted(metrics)], np.float64)
    for server_round, metrics in result.train_metrics_clientapp.items():
        values[f"train.{server_round}"] = np.array([metrics[key] for key in sorted(metrics)], np.float64)
    context.state["done"] = MetricRecord({"rounds": rounds})
    if context.run_config["output"]:
        np.savez(context.run_config["output"], **values)
