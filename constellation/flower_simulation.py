"""Runs anybody's Flower App on the local grid, unchanged.

The ServerApp runs in this process and the ClientApps in workers, which are forked when both are imported: they share
that memory, and what the ClientApp loads later stays in its worker.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from flwr.app import Context, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp

from app.engine import flwr_compat
from app.engine.client_handler import ClientHandler
from app.engine.local_grid import LocalGrid, Nodes
from app.engine.worker import Handler
from app.engine.worker_pool import WorkerPool, num_cores
from app.engine.zygote import Spawner, SpawnTarget, WorkerSource, Zygote
from constellation.app_imports import app_on_path, last_line_in, load_component, put_on_path
from constellation.app_randomness import ImportWatch, SeededClientApp, mix, seed_generators
from constellation.flower_app import FlowerApp, read_flower_app
from constellation.tally_grid import Tally, TallyGrid
from shared.config import Scalar
from shared.errors import ConfigError, ConstellationError, RunFailed

_LOG = logging.getLogger(__name__)
_SEED_BITS = 32
_ENDING = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationResult:
    """What came of a simulation; what the app itself made of it stands where the app put it."""

    app: str
    num_supernodes: int
    workers: int
    seed: int
    tally: Tally
    seconds_total: float
    state: RecordDict  # the ServerApp's ``context.state`` in the end

    def to_json(self) -> dict[str, object]:
        """Return the plain values."""
        return {
            "app": self.app,
            "state": "finished",
            "num_supernodes": self.num_supernodes,
            "workers": self.workers,
            "seed": self.seed,
            "messages": self.tally.messages,
            "errors": self.tally.errors,
            "seconds_total": round(self.seconds_total, 3),
        }


def simulate(
    folder: Path, num_supernodes: int, *, overrides: Sequence[str] = (), workers: int = 0, seed: int | None = None
) -> SimulationResult:
    """Run the Flower App in ``folder`` with ``num_supernodes`` clients on this machine.

    Args:
        folder: It holds the app's pyproject.toml.
        num_supernodes: From 1.
        overrides: As ``flwr run -c``.
        workers: Processes that run ClientApps; 0: one a core.
        seed: For what the app leaves to chance; None draws one.

    Raises:
        UsageError: There is no such app, or it cannot be imported.
        RunFailed: The ServerApp failed, or no client ever answered with anything but an error.
    """
    if num_supernodes < 1:
        raise ConfigError(f"num-supernodes must be >= 1, got {num_supernodes}")
    if workers < 0:
        raise ConfigError(f"workers must be >= 0, got {workers}")
    start = time.perf_counter()
    app = read_flower_app(folder, overrides)
    seed = secrets.randbits(_SEED_BITS) if seed is None else seed
    num_workers = min(workers or num_cores(), num_supernodes)
    with _started(app, num_supernodes, num_workers, seed) as (server_app, local_grid):
        grid = TallyGrid(local_grid, num_supernodes)
        context = Context(
            run_id=local_grid.run.run_id,
            node_id=flwr_compat.SERVER_NODE_ID,
            node_config={},
            state=RecordDict(),
            run_config=dict(app.run_config),
        )
        _run_server_app(app, server_app, grid, context)
    tally = grid.tally
    if tally.replies and tally.errors == tally.replies:
        raise RunFailed(f"{app.name}: all {tally.replies} replies were errors; the first is from {tally.first_error}")
    seconds = time.perf_counter() - start
    return SimulationResult(
        app=app.name, num_supernodes=num_supernodes, workers=num_workers, seed=seed, tally=tally,
        seconds_total=seconds, state=context.state,
    )  # fmt: skip


@contextlib.contextmanager
def _started(app: FlowerApp, num_supernodes: int, workers: int, seed: int) -> Iterator[tuple[ServerApp, LocalGrid]]:
    """Import the app and start the grid; end and forget both."""
    nodes = Nodes(
        count=num_supernodes, config_of=lambda index: {"partition-id": index, "num-partitions": num_supernodes}
    )
    settings = {"folder": str(app.folder), "client_app": app.client_app, "run_config": dict(app.run_config)}
    target = SpawnTarget(name=f"{__name__}:spawned_handler", settings={**settings, "seed": seed})
    spawner = Spawner(target)  # made before the app's folder is on the path
    with app_on_path(app.folder):
        num_threads = threading.active_count()
        watch = ImportWatch(mix(seed, "import"))
        client_app = _load_client_app(app.client_app, app.folder, seed, watch)
        server_app = load_component(app.server_app, ServerApp, app.folder)
        _warm_up()
        can_fork = hasattr(os, "fork") and threading.active_count() == num_threads and not _uses_accelerator()
        source: WorkerSource = Zygote(lambda: _handler(client_app, app.run_config)) if can_fork else spawner
        with (
            LocalGrid(WorkerPool(source, workers), nodes, run_id=mix(seed, "run")) as grid,
            _closed_by_ctrl_c(grid),
            flwr_compat.results_in_order(),
        ):
            seed_generators(mix(seed, "server"), watch.own_states())
            yield server_app, grid


def spawned_handler(folder: str, client_app: str, run_config: Mapping[str, Scalar], seed: int) -> Handler:
    """Make what a worker runs in a new interpreter, where an app has threads or an accelerator before the fork."""
    path = Path(folder)
    put_on_path(path)
    return _handler(_load_client_app(client_app, path, seed, ImportWatch(mix(seed, "import"))), run_config)


def _load_client_app(reference: str, folder: Path, seed: int, watch: ImportWatch) -> SeededClientApp:
    app = load_component(reference, ClientApp, folder)
    return SeededClientApp(app=app, seed=seed, own=watch.own_states())


def _handler(app: SeededClientApp, run_config: Mapping[str, Scalar]) -> Handler:
    """Make what a worker runs, with one thread: there is a process for each core."""
    os.environ["OMP_NUM_THREADS"] = "1"  # where the app imports torch later
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    return ClientHandler(app=app, run_config=run_config, calls={}, decoded={})


def _run_server_app(app: FlowerApp, server_app: ServerApp, grid: TallyGrid, context: Context) -> None:
    try:
        server_app(grid=grid, context=context)
    except ConstellationError:
        raise
    except SystemExit as error:
        if error.code:
            raise RunFailed(f"the ServerApp of {app.name} ended itself with exit code {error.code}") from error
    except Exception as error:  # anybody's app may fail in any way; its traceback is what its author needs
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None and trace.tb_frame.f_code.co_filename == __file__:
            trace = trace.tb_next
        _LOG.error("%s", "".join(traceback.format_exception(type(error), error, trace)).rstrip())
        where = last_line_in(app.folder, trace)
        sentence = f"the ServerApp of {app.name} failed: {type(error).__name__}: {error}{where}"
        first = grid.tally.first_error
        raise RunFailed(f"{sentence}; before that, {first}" if first else sentence) from error


def _warm_up() -> None:
    """Import once what torch needs for its first optimizer: each worker would else spend seconds and 170 MB on it."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)


def _uses_accelerator() -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and bool(torch.cuda.is_initialized())


@contextlib.contextmanager
def _closed_by_ctrl_c(grid: LocalGrid) -> Iterator[None]:
    """Let Ctrl-C end the workers first: a legacy ServerApp else waits for its threads, and they for their clients."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    closer = threading.Thread(target=grid.close, name="close-grid")

    def interrupt(_: int, __: FrameType | None) -> None:
        if closer.ident is None:
            closer.start()
        raise KeyboardInterrupt

    # SIGTERM is among them where the command line treats it as Ctrl-C.
    numbers = [each for each in _ENDING if signal.getsignal(each) is signal.default_int_handler]
    for number in numbers:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.default_int_handler)
        if closer.ident is not None:
            closer.join()
