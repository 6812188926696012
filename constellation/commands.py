"""The subcommands, each in the module that knows it; heavy imports wait until a command runs."""

from __future__ import annotations

import typer

from constellation import keys, runs
from constellation.attacks import attacks
from constellation.client import client
from constellation.dashboard import dashboard
from constellation.demo import demo
from constellation.evaluate import evaluate
from constellation.federation_commands import status, token
from constellation.options import with_run_options
from constellation.predict import predict
from constellation.preview import preview
from constellation.server import server
from constellation.simulate import simulate
from constellation.watch import watch


def register_demo(app: typer.Typer) -> None:
    """Give ``app`` the command ``demo``."""
    app.command("demo", help="Train a federation on this machine.")(with_run_options(demo))


def register_server(app: typer.Typer) -> None:
    """Give ``app`` the command ``server``."""
    app.command("server", help="Serve a federation for clients on other machines.")(with_run_options(server))


def register_client(app: typer.Typer) -> None:
    """Give ``app`` the command ``client``."""
    app.command("client", help="Train for a federation on this machine's data.")(client)


def register(app: typer.Typer) -> None:
    """Give ``app`` its subcommands."""
    register_demo(app)
    app.command("dashboard", help="Serve the dashboard of a folder of runs.")(dashboard)
    register_server(app)
    register_client(app)
    app.command("token", help="Invite clients on other machines.")(token)
    app.command("status", help="Show clients, run, round and what it waits for.")(status)
    app.command("simulate", help="Run a Flower App on this machine, unchanged.")(simulate)
    app.command("attacks", help="Try every attack against every aggregation rule.")(attacks)
    app.command("evaluate", help="Evaluate a run's model, class by class.")(evaluate)
    app.command("predict", help="Say what a run's model sees in a picture.")(predict)
    app.command("watch", help="Follow a run of a dashboard, in the terminal.")(watch)
    app.command("preview", hidden=True, help="Compute previews for the dashboard.")(preview)
    runs.register(app)
    keys.register(app)
