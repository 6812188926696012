"""``python -m client.supernode``: the options of ``flower-supernode`` that matter here, and some of our own."""

from __future__ import annotations

import argparse
import logging
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from client.supernode import stock
from client.supernode.identity import load_node_key, load_or_create_node_key
from shared.errors import ConfigError, ConstellationError

_log = logging.getLogger("client.supernode")
_NODE_KEY = "node-key.pem"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a node until SIGTERM or Ctrl-C and return the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = parser().parse_args(given)
    logging.basicConfig(level=options.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it would log each look for a message
    try:
        if options.stock_supernode or not _is_tested():
            stock.become_stock(stock_arguments(options))
        return _run(options, given)
    except ConstellationError as error:
        _log.error("%s", error)
        return error.exit_code


def parser() -> argparse.ArgumentParser:
    """Build the parser."""
    made = argparse.ArgumentParser(prog="python -m client.supernode", description="A resident Flower SuperNode.")
    made.add_argument("--superlink", default="127.0.0.1:8000", help="HOST:PORT of the SuperLink")
    made.add_argument("--insecure", action="store_true", help="without TLS: for a trial on one machine")
    made.add_argument("--root-certificates", type=Path, help="whom the SuperLink's certificate must come from (PEM)")
    made.add_argument(
        "--auth-supernode-private-key", type=Path, help="the node's key, where the server registers nodes"
    )
    made.add_argument("--node-config", default="", help='as "partition-id=0 num-partitions=2"')
    made.add_argument("--state-dir", type=Path, help="what outlives the process: the node's key, id and work in hand")
    made.add_argument("--app", default="", help="run this installed ClientApp (pkg.mod:attr), never a bundle's code")
    made.add_argument("--max-wait-time", type=float, help="seconds without a connection after which to give up")
    made.add_argument("--stock-supernode", action="store_true", help="run Flower's own SuperNode instead")
    made.add_argument("--host", default="127.0.0.1", help="of the stock SuperNode's own port")
    made.add_argument("--port", type=int, default=9094, help="of the stock SuperNode; the resident one has no port")
    made.add_argument("--log-level", default="info", choices=["debug", "info", "warning", "error"])
    return made


def stock_arguments(options: argparse.Namespace) -> list[str]:
    """Say the same to ``flower-supernode``.

    Raises:
        ConfigError: It cannot keep to what was asked for.
    """
    if options.app:
        raise ConfigError(
            "app is for the resident SuperNode: a stock one runs what the bundle names; leave --app out to start it"
        )
    arguments = ["--superlink", options.superlink, "--host", options.host, "--port", str(options.port)]
    if options.insecure:
        arguments.append("--insecure")
    for name in ("root_certificates", "auth_supernode_private_key", "max_wait_time"):
        if (value := getattr(options, name)) is not None:
            arguments += [f"--{name.replace('_', '-')}", str(value)]
    return [*arguments, "--node-config", options.node_config] if options.node_config else arguments


def _is_tested() -> bool:
    """Tell whether the private names we use are those of the installed Flower."""
    try:
        from client.supernode.flwr_compat import TESTED_SERIES, installed_version, is_tested
    except ImportError as error:
        _log.warning("the installed Flower lacks what the resident SuperNode uses (%s); starting Flower's own", error)
        return False
    if not is_tested(installed_version()):
        version = installed_version()
        _log.warning("Flower %s is not the tested %s; starting Flower's own SuperNode", version, TESTED_SERIES)
        return False
    return True


def _run(options: argparse.Namespace, given: list[str]) -> int:
    from client.supernode.apps import ChangesProcess
    from client.supernode.persistence import Stopped

    is_lasting = options.state_dir is not None
    state_dir = options.state_dir or Path(tempfile.mkdtemp(prefix="supernode-"))
    try:
        _serve(options, state_dir, is_lasting=is_lasting)
    except Stopped:
        _log.info("stopped")
    except ChangesProcess:
        _log.info("the next run has another bundle: starting over in a new process")
        command = [sys.executable, "-m", "client.supernode", *given]
        command += [] if is_lasting else ["--state-dir", str(state_dir)]
        sys.stdout.flush()
        os.execv(command[0], command)  # noqa: S606 - this very program
    if not is_lasting:
        shutil.rmtree(state_dir, ignore_errors=True)
    return 0


def _serve(options: argparse.Namespace, state_dir: Path, *, is_lasting: bool) -> None:
    from client.supernode.apps import BundledApps, Desk, InstalledApp
    from client.supernode.flwr_compat import Fleet, parse_node_config
    from client.supernode.memory import FolderMemory
    from client.supernode.node import NodeOptions, ResidentNode
    from client.supernode.persistence import Stopped

    stop = threading.Event()

    def end(_: int, __: FrameType | None) -> None:
        if not stop.is_set():  # once: the second signal finds the node on its way out
            stop.set()
            raise Stopped

    try:
        node_config = parse_node_config([options.node_config] if options.node_config else [])
        key_file = options.auth_supernode_private_key
        key = load_node_key(key_file) if key_file else load_or_create_node_key(state_dir / _NODE_KEY)
        fleet = Fleet(options.superlink, key, root_certificates=options.root_certificates, insecure=options.insecure)
        memory = FolderMemory(state_dir)
    except (ValueError, OSError) as error:
        raise ConfigError(f"the node cannot be started: {error}") from error
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, end)
    node = ResidentNode(
        fleet,
        Desk(InstalledApp(options.app) if options.app else BundledApps(), node_config),
        memory,
        NodeOptions(
            address=options.superlink,
            registers_itself=key_file is None,
            is_lasting=is_lasting,
            max_wait_s=options.max_wait_time,
        ),
        rng=random.Random(),  # noqa: S311 - jitter
        is_stopped=stop.wait,
    )
    try:
        node.run()
    finally:
        fleet.close()
