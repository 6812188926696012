"""``--engine flower``: the run of ``run_demo.py`` on a real SuperLink with resident SuperNodes, on this machine.

The run's folder, its events and its report are those of the local engine. The ServerApp writes them; this process
starts what is needed, passes the events on, and ends everything.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import safetensors.numpy

from app.engine.control import Control, forget_control
from app.engine.federation import Federation, LinkOptions, free_port
from app.results import RunResult, write_results
from constellation import folders
from constellation.folders import key_dir_of
from constellation.names import client_id_of
from constellation.resuming import keep_settings
from constellation.run_watcher import RunWatcher
from shared.config import RunConfig
from shared.crypto.keys import SERVER_ID, KeyStore
from shared.errors import RunFailed, UsageError
from shared.events import EventSink
from shared.records import to_array_record
from shared.run_order import CLIENTS, RUN_ID

MAX_CLIENTS = 32  # a process each: more of them on one machine are the local engine's work


def run_on_flower(
    config: RunConfig,
    run_dir: Path | None,
    *,
    sinks: Sequence[EventSink] = (),
    control: Control | None = None,
    tick: Callable[[], None] | None = None,
    must_go_on: bool = False,
    stock: bool = False,
) -> RunResult:
    """Run a federation on a SuperLink of its own and return its results.

    Args:
        config: The settings.
        run_dir: A folder that was prepared for the run, or holds one to go on with; None makes one.
        sinks: Where events go besides the run's own file; closed in the end.
        control: Who may pause and stop the run, besides the file in its folder.
        tick: Called some times a second.
        must_go_on: The run goes on by hand: what it was asked before counts no more.
        stock: With Flower's own SuperNodes, for comparison.

    Raises:
        ConstellationError: The settings cannot be used, or the federation cannot go on.
    """
    check_deployable(config)
    folder = (run_dir or folders.create_run_dir(config, folders.new_run_id())).absolute()
    if run_dir:
        keep_settings(run_dir, config)
    if must_go_on:
        forget_control(folder)
    state = Path(tempfile.mkdtemp(prefix="federation-"))
    try:
        watcher = RunWatcher(folder, list(sinks), control, tick)
        with Federation(folder=state, options=LinkOptions(port=free_port()), sleep=watcher.sleep) as federation:
            flower_run = _start(federation, config, folder, stock=stock)
            try:
                watcher.watch(federation, flower_run)
            except KeyboardInterrupt:
                watcher.interrupt(federation)
        return _result(config, folder, watcher)
    finally:
        for sink in sinks:
            sink.close()
        shutil.rmtree(state, ignore_errors=True)


def check_deployable(config: RunConfig) -> None:
    """Refuse what only makes sense in a simulation.

    Raises:
        UsageError: Says what, and what to do instead.
    """
    if config.num_clients > MAX_CLIENTS:
        raise UsageError(
            f"num-clients is {config.num_clients} and engine flower starts a process a client, at most {MAX_CLIENTS} "
            "on one machine; run with --engine local, or start clients elsewhere with run_client.py"
        )
    if config.attack:
        raise UsageError("attack is for simulations; run with --engine local")


def _start(federation: Federation, config: RunConfig, folder: Path, *, stock: bool) -> str:
    """Start the nodes, each with its key, and submit the run."""
    clients = [client_id_of(index) for index in range(config.num_clients)]
    key_dir = key_dir_of(config).absolute()
    if config.signatures:
        store = KeyStore(key_dir)
        for owner in (SERVER_ID, *clients):
            store.load_or_create(owner)
    for index, client in enumerate(clients):
        node: dict[str, int | str] = {"partition-id": index, "num-partitions": config.num_clients, "client-id": client}
        if config.dp:
            node["privacy-dir"] = str(
                folder / folders.PRIVACY_FOLDER
            )  # not beside the key: a run here is a life of its own
        keys = {"key-path": str(key_dir / f"{client}.pem")} if config.signatures else {}
        command = [sys.executable, "-m", "client.supernode", "--superlink", federation.address, "--insecure"]
        command += ["--stock-supernode", "--port", str(free_port())] if stock else ["--app", "client.client_app:app"]
        command += ["--node-config", " ".join(f"{key}={json.dumps(value)}" for key, value in {**node, **keys}.items())]
        federation.family.start(client, command, environment={"OMP_NUM_THREADS": "1"})
    settings = replace(
        config,
        key_dir=str(key_dir),
        output=str(folder.parent),
        min_clients=max(config.min_clients, config.num_clients),  # they all start now, some a moment later
    )
    return federation.submit({**settings.as_flat(), RUN_ID: folder.name, CLIENTS: ",".join(clients)})


def _result(config: RunConfig, folder: Path, watcher: RunWatcher) -> RunResult:
    """Read what the ServerApp has written.

    Raises:
        RunFailed: The run failed, or left no model.
        KeyboardInterrupt: It was interrupted before it began.
    """
    if watcher.ended is None:
        raise KeyboardInterrupt
    if watcher.ended.state == "failed":
        raise RunFailed(watcher.ended.error or f"the run failed; see {folder}")
    model_file = folder / folders.MODEL_FILE
    if not model_file.exists():
        raise RunFailed(f"the run left no model; see {folder}")
    return write_results(folder, config, to_array_record(safetensors.numpy.load_file(model_file)))
