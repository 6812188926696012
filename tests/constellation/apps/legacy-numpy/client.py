"""A NumPyClient, as apps were written before the Message API."""

import numpy as np
from flwr.client import NumPyClient
from flwr.clientapp import ClientApp
from flwr.common import Context


def make_data(partition_id):
    rng = np.random.default_rng(partition_id)
    inputs = rng.normal(size=(20 + 5 * partition_id, 60)).astype(np.float32)
    return inputs, inputs @ np.linspace(-1, 1, 60, dtype=np.float32) + 0.5


class LinearClient(NumPyClient):
    def __init__(self, partition_id, learning_rate):
        self.partition_id = partition_id
        self.learning_rate = learning_rate
        self.inputs, self.targets = make_data(partition_id)

    def get_properties(self, config):
        return {"num-examples": len(self.targets), "fast": self.partition_id % 2 == 0, **config}

    def get_parameters(self, config):
        return [np.zeros((60, 150), np.float32), np.zeros(1, np.float32)]

    def fit(self, parameters, config):
        weights, bias = parameters
        for _ in range(config["local-steps"]):
            errors = self.inputs @ weights[:, 0] + bias[0] - self.targets
            weights[:, 0] -= self.learning_rate * self.inputs.T @ errors / len(errors)
            bias[0] -= self.learning_rate * errors.mean()
        return [weights, bias], len(self.targets), {"error": float(np.square(errors).mean())}

    def evaluate(self, parameters, config):
        weights, bias = parameters
        errors = self.inputs @ weights[:, 0] + bias[0] - self.targets
        return float(np.square(errors).mean()), len(self.targets), {"worst": float(np.abs(errors).max())}


def client_fn(context: Context):
    return LinearClient(context.node_config["partition-id"], context.run_config["learning-rate"]).to_client()


app = ClientApp(client_fn=client_fn)
