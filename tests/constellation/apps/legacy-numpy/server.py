"""FedAvg with callbacks, as apps were written before the Message API."""

import numpy as np
from flwr.common import Context, GetPropertiesIns, parameters_to_ndarrays
from flwr.server import ServerApp, ServerAppComponents, ServerConfig
from flwr.server.strategy import FedAvg

from client import make_data


def weighted_average(metrics):
    total = sum(num_examples for num_examples, _ in metrics)
    names = metrics[0][1]
    return {name: sum(num * values[name] for num, values in metrics) / total for name in names}


def evaluate_centrally(server_round, parameters, config):
    weights, bias = parameters
    inputs, targets = make_data(99)
    errors = inputs @ weights[:, 0] + bias[0] - targets
    return float(np.square(errors).mean()), {"round": server_round}


class AskFirst(FedAvg):
    """FedAvg that asks its clients for their properties and trains the fast ones harder."""

    def __init__(self, output, num_rounds, **settings):
        super().__init__(**settings)
        self.output = output
        self.num_rounds = num_rounds
        self.seen = {}

    def configure_fit(self, server_round, parameters, client_manager):
        instructions = super().configure_fit(server_round, parameters, client_manager)
        for client, fit_ins in instructions:
            answer = client.get_properties(GetPropertiesIns({"asked": server_round}), timeout=60, group_id=server_round)
            assert answer.properties["asked"] == server_round
            steps = 3 if answer.properties["fast"] else 2
            fit_ins.config = {**fit_ins.config, "local-steps": 2}
            self.seen[answer.properties["num-examples"]] = steps
        return instructions

    def aggregate_fit(self, server_round, results, failures):
        assert not failures, failures
        parameters, metrics = super().aggregate_fit(server_round, results, failures)
        if server_round == self.num_rounds and self.output:
            weights, bias = parameters_to_ndarrays(parameters)
            sizes = np.array(sorted(self.seen))
            np.savez(self.output, weights=weights, bias=bias, sizes=sizes, error=metrics["error"])
        return parameters, metrics

    def aggregate_evaluate(self, server_round, results, failures):
        loss, metrics = super().aggregate_evaluate(server_round, results, failures)
        print(f"round {server_round}: {loss:.6f}, worst {metrics['worst']:.6f}")
        return loss, metrics


def server_fn(context: Context):
    num_rounds = context.run_config["num-server-rounds"]
    strategy = AskFirst(
        context.run_config["output"],
        num_rounds,
        fraction_fit=context.run_config["fraction-fit"],
        min_fit_clients=1,
        min_available_clients=context.run_config["min-clients"],
        evaluate_fn=evaluate_centrally,
        fit_metrics_aggregation_fn=weighted_average,
        evaluate_metrics_aggregation_fn=weighted_average,
    )
    return ServerAppComponents(strategy=strategy, config=ServerConfig(num_rounds=num_rounds, round_timeout=60.0))


app = ServerApp(server_fn=server_fn)
