"""FedAvg over whoever answers."""

import numpy as np
from flwr.app import Array, ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    if context.run_config["fail"] == "server":
        raise LookupError("no such thing")
    arrays = ArrayRecord({"w": Array(np.zeros(4, np.float64))})
    result = FedAvg().start(grid=grid, initial_arrays=arrays, num_rounds=context.run_config["num-server-rounds"])
    if context.run_config["output"]:
        np.savez(context.run_config["output"], w=result.arrays["w"].numpy())
