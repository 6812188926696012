"""Runs a Flower App on Flower's own simulation runtime: ``python flower_oracle.py APP NUM_SUPERNODES KEY=VALUE ...``.

All of it is Flower's, its in-memory SuperLink, its grid, its node and run stores, its loading of apps and configs, but
for the one class that needs Ray: where that hands a message to an actor, this calls the ClientApp, on copies.
"""

import copy
import importlib
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from flwr.app import Context, RecordDict
from flwr.common.config import get_fused_config_from_dir, get_project_config, parse_config_args
from flwr.server.superlink.fleet.vce.backend.backend import Backend
from flwr.supercore.constant import NOOP_FEDERATION_ID
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity
from flwr.supercore.telemetry import EventType

RUN_ID, TASK_ID = 4711, 12


class OneActor(Backend):
    """Stands where Flower's RayBackend stands."""

    def __init__(self, backend_config):
        self.app = None

    @property
    def num_workers(self):
        return 1

    def build(self, app_fn):
        self.app = app_fn()

    def is_worker_idle(self):
        return True

    def terminate(self):
        pass

    def process_message(self, message, context):
        message, context = copy.deepcopy(message), copy.deepcopy(context)
        return self.app(message, context), context


def after_registration(run_server_app, num_supernodes):
    """Start the ServerApp when all nodes are there: Flower registers them while it runs already."""

    def run(grid, **settings):
        while len(list(grid.get_node_ids())) < num_supernodes:
            time.sleep(0.01)
        return run_server_app(grid=grid, **settings)

    return run


def main(folder: str, num_supernodes: str, *overrides: str) -> None:
    backend = ModuleType("flwr.server.superlink.fleet.vce.backend.raybackend")
    backend.RayBackend = OneActor
    sys.modules[backend.__name__] = backend
    components = get_project_config(folder)["tool"]["flwr"]["app"]["components"]
    override_config = parse_config_args(list(overrides))
    run_config = get_fused_config_from_dir(Path(folder), override_config)
    run = replace(
        Run.create_empty(RUN_ID),
        primary_task_id=TASK_ID,
        federation_id=NOOP_FEDERATION_ID,
        override_config=override_config,
    )
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = TASK_ID, RUN_ID, 1
    # The package has a function of the same name as this module.
    run_simulation = importlib.import_module("flwr.simulation.run_simulation")
    run_simulation._run = after_registration(run_simulation._run, int(num_supernodes))
    run_simulation._run_simulation(
        num_supernodes=int(num_supernodes),
        exit_event=EventType.FLWR_SIMULATION_RUN_LEAVE,
        backend_name="one-actor",
        client_app_attr=components["clientapp"],
        server_app_attr=components["serverapp"],
        server_app_context=Context(run_id=RUN_ID, node_id=0, node_config={}, state=RecordDict(), run_config=run_config),
        app_dir=folder,
        run=run,
        is_app=True,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
