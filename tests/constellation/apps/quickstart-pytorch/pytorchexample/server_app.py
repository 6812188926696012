"""pytorchexample: A Flower / PyTorch app."""

import numpy as np
import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from pytorchexample.task import Net, load_data, test

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Main entry point for the ServerApp."""
    torch.manual_seed(7)
    arrays = ArrayRecord(Net().state_dict())
    strategy = FedAvg(fraction_train=context.run_config["fraction-train"])
    result = strategy.start(
        grid=grid,
        initial_arrays=arrays,
        train_config=ConfigRecord({"lr": context.run_config["optim.lr"]}),
        num_rounds=context.run_config["num-server-rounds"],
        evaluate_fn=global_evaluate,
    )
    values = {f"model.{name}": array.numpy() for name, array in result.arrays.items()}
    for server_round, metrics in result.evaluate_metrics_clientapp.items():
        values[f"clients.{server_round}"] = np.array([metrics["eval_loss"], metrics["eval_acc"]])
    for server_round, metrics in result.evaluate_metrics_serverapp.items():
        values[f"server.{server_round}"] = np.array([metrics["loss"], metrics["accuracy"]])
    if context.run_config["output"]:
        np.savez(context.run_config["output"], **values)


def global_evaluate(server_round: int, arrays: ArrayRecord) -> MetricRecord:
    """Evaluate the model on central data."""
    model = Net()
    model.load_state_dict(arrays.to_torch_state_dict())
    loss, accuracy = test(model, load_data(1000, 1001)[1])
    return MetricRecord({"loss": loss, "accuracy": accuracy})
