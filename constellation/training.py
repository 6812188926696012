"""Runs a federation on this machine from its settings to its results: what ``run_demo.py`` and notebooks call."""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from flwr.app import ArrayRecord
from flwr.serverapp.strategy import Strategy

from app import run_lock
from app.engine.amends import missing_round_closed
from app.engine.checkpoint import CheckpointStore
from app.engine.control import Control, FileControl, forget_control, ticking
from app.engine.ending import run_to_end
from app.engine.exchange import Exchange
from app.engine.local_grid import LocalGrid
from app.engine.randomness import StrategyRandomness
from app.engine.rounds import RoundLoop
from app.engine.settings import early_stop_of, round_settings
from app.journal import RunJournal, open_store
from app.results import RunResult, write_results, write_what_is_there
from app.strategies.catalog import make_strategy
from app.strategies.privacy import PrivacyTally
from constellation import folders
from constellation.baselines import check_measurable, measure_baselines
from constellation.client_mods import mods_of
from constellation.names import client_id_of
from constellation.resuming import check_resumable, keep_settings
from constellation.root_update import trusted_update
from constellation.simulation import central_evaluation, initial_arrays, num_workers_of, start_grid
from constellation.verification import verified
from monitor.sinks import JsonlSink, last_seq, read_events
from shared.aggregation import NEEDS_TRUSTED_UPDATE
from shared.config import RunConfig
from shared.datasets.federated import FederatedData, federate
from shared.errors import CheckpointError, UsageError
from shared.events import EventLog, EventSink, PartitionDescribed, RunStarted
from shared.models.device import tune_allocator
from shared.parameters import model_digest, num_parameters
from shared.records import from_array_record

_MAX_NAMED_CLIENTS = 1_000  # in one event: the rest is counted


def run(
    config: RunConfig | None = None,
    *,
    sinks: Sequence[EventSink] = (),
    control: Control | None = None,
    tick: Callable[[], None] | None = None,
    resume: Path | str | None = None,
    run_dir: Path | str | None = None,
    baselines: bool = False,
    sampler: Sampler | None = None,
) -> RunResult:
    """Run a federation and return its results.

    Args:
        config: The settings; the defaults train a small CNN on real digits. With ``resume``, the settings to go on
            with: by default those the run was started with, from which only few may differ.
        sinks: Where events go besides the run's own ``events.jsonl``; they are closed with the run.
        control: Who may pause and stop the run; by default a file in the run's folder.
        tick: Called some times a second while replies are awaited: a view with a clock redraws itself.
        resume: The folder of a run that was killed or stopped: it goes on from its last closed round.
        run_dir: A folder that was prepared for the run, with its ``config.toml``: the run begins in it, or goes on
            where there is a closed round. By default a folder is made.
        baselines: Also train one model on everybody's data, and clients alone, for comparison.
        sampler: Told of the run's processes while its rounds last: it may watch what they use.

    Returns:
        The results, whatever the end: ``state`` is completed, stopped, or interrupted (Ctrl-C).

    Raises:
        ConstellationError: The settings cannot be used, or the federation cannot go on.
    """
    given = resume if resume is not None else run_dir
    folder = Path(given) if given is not None else None
    stored = folders.open_run_dir(folder) if folder else RunConfig()
    settings = config or stored
    if folder:
        check_resumable(stored, settings)
    if settings.engine == "flower":
        from constellation.flower_engine import run_on_flower

        return run_on_flower(settings, folder, sinks=sinks, control=control, tick=tick, must_go_on=resume is not None)
    if settings.engine != "local":
        raise UsageError(f"engine {settings.engine!r} is not part of this version; run with --engine local or flower")
    with _alone_in_this_process(), _one_torch_thread(), _quiet_flower():
        data = federate(settings)
        if baselines:
            check_measurable(data)
        with _Run.prepared(settings, data, folder, control, tick, must_go_on=resume is not None) as prepared:
            return prepared.train([*sinks], sampler, with_baselines=baselines)


class Sampler(Protocol):
    """Watches the processes of a run (``monitor.reporting.sampler``)."""

    def start(self, run: str, worker_pids: Callable[[], Sequence[int]]) -> None:
        """Begin to watch this process and the workers, whose numbers change when one is replaced."""

    def close(self) -> None:
        """Watch no longer."""


# Runs share what belongs to the process: Python's and torch's random generators, torch's threads, frozen memory.
_process = threading.Lock()


@contextmanager
def _alone_in_this_process() -> Iterator[None]:
    """Refuse a second run beside one under way: both would draw from each other's random numbers.

    Raises:
        UsageError: A run is under way in another thread.
    """
    if not _process.acquire(blocking=False):
        raise UsageError(
            "a run is under way in this process; wait for it to end, or start the other one in a process of its own"
        )
    try:
        yield
    finally:
        _process.release()


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    """Leave the cores to the workers, which inherit no torch threads when forked; a notebook gets its own back."""
    num_threads = torch.get_num_threads()
    tune_allocator()  # replies are large enough for a new mapping each, with its page faults
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)


@contextmanager
def _frozen_memory() -> Iterator[None]:
    """Keep the garbage collector off what is there now, torch's half a million objects among it.

    It must go on coming as often: Flower's views of a record refer to themselves, and hold a reply's arrays till then.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextmanager
def _quiet_flower() -> Iterator[None]:
    """Keep Flower's own story of each round out of ours, where nobody has set its logging up."""
    flower = logging.getLogger("flwr")
    level = flower.level
    if flower.handlers:  # its own, from its import: the command replaces them
        flower.setLevel(logging.WARNING)
    try:
        yield
    finally:
        flower.setLevel(level)


@contextmanager
def _watched(sampler: Sampler | None, run_id: str, grid: LocalGrid) -> Iterator[None]:
    if sampler is None:
        yield
        return
    sampler.start(run_id, grid.worker_pids)
    try:
        yield
    finally:
        sampler.close()


@dataclass(slots=True, kw_only=True)
class _Run:
    """Everything of one run that must be closed again."""

    config: RunConfig
    data: FederatedData
    inner: Strategy
    initial: ArrayRecord
    run_dir: Path
    is_resumed: bool
    grid: LocalGrid
    store: CheckpointStore
    control: Control

    @classmethod
    @contextmanager
    def prepared(
        cls,
        config: RunConfig,
        data: FederatedData,
        run_dir: Path | None,
        control: Control | None,
        tick: Callable[[], None] | None,
        *,
        must_go_on: bool,
    ) -> Iterator[_Run]:
        """Check everything that can be checked, then make the folder, then start the workers."""
        trusted = trusted_update(config, data) if config.aggregation in NEEDS_TRUSTED_UPDATE else None
        # May fail: nothing is written yet.
        inner = make_strategy(config, trusted, max(map(data.num_examples, range(data.num_clients))))
        initial = initial_arrays(config, data)
        run_id = run_dir.name if run_dir else folders.new_run_id()
        grid = start_grid(config, data, mods_of(config), run_dir or Path(config.output) / run_id)
        with grid:
            folder = run_dir or folders.create_run_dir(config, run_id)
            with run_lock.held(folder), closing(open_store(folder, is_new=run_dir is None)) as store:
                if run_dir:
                    keep_settings(run_dir, config)
                if must_go_on:  # by hand; a supervisor has said what it wants before it started us
                    forget_control(folder)
                yield cls(
                    config=config,
                    data=data,
                    inner=inner,
                    initial=initial,
                    run_dir=folder,
                    is_resumed=must_go_on or (run_dir is not None and store.has_closed_round()),
                    grid=grid,
                    store=store,
                    control=ticking(control or FileControl(folder), tick),
                )

    def train(self, sinks: list[EventSink], sampler: Sampler | None, *, with_baselines: bool) -> RunResult:
        """Run the rounds and write the results; a run that fails leaves its report too."""
        events_path = self.run_dir / folders.EVENTS_FILE
        first_seq = last_seq(events_path) + 1  # a start that closed no round leaves events too
        log = EventLog(self.run_dir.name, [JsonlSink(events_path), *sinks], time.time, first_seq)
        try:
            with _watched(sampler, self.run_dir.name, self.grid):
                arrays = self._rounds(log)
        except BaseException:
            log.close()
            write_what_is_there(self.run_dir)
            raise
        log.close()
        result = write_results(self.run_dir, self.config, arrays)
        if not with_baselines or result.state != "completed":
            return result
        baselines = measure_baselines(self.grid, self.config, self.data, self.initial)
        return write_results(self.run_dir, self.config, arrays, baselines)

    def _rounds(self, log: EventLog) -> ArrayRecord:
        privacy = self._privacy()
        strategy = verified(self.inner, self.config, self.data, self.run_dir.name, log.emit, self._client_of, privacy)
        journal = RunJournal(self.store, strategy, self.grid)
        randomness = StrategyRandomness(self.config.seed)
        first_round, arrays = 1, self.initial
        if self.is_resumed:
            closed, arrays = journal.restore(randomness, arrays)
            first_round = closed + 1
        loop = self._loop(strategy, journal, randomness, log)
        self._announce(log, arrays, first_round)
        digest = model_digest(from_array_record(arrays)).hex()
        events = read_events(self.run_dir / folders.EVENTS_FILE)
        if self.is_resumed and (lacking := missing_round_closed(events, first_round - 1, digest)) is not None:
            log.emit(lacking)
        with _frozen_memory():
            return run_to_end(loop, arrays, first_round, log.emit)

    def _privacy(self) -> PrivacyTally | None:
        """Start the tally of a private run, or go on with what the events of a resumed one say.

        Raises:
            CheckpointError: The ledger of a client that has trained is gone: what it spent would be forgotten.
        """
        if not self.config.dp:
            return None
        tally = PrivacyTally(self.config)
        if self.is_resumed:
            tally.restore(read_events(self.run_dir / folders.EVENTS_FILE))
            for client in sorted(tally.clients):
                if not (ledger := self.run_dir / folders.PRIVACY_FOLDER / client).is_dir():
                    raise CheckpointError(
                        f"the privacy ledger {ledger} is missing, and {client} has trained; restore it or start anew"
                    )
        return tally

    def _client_of(self, node_id: int) -> str:
        return client_id_of(self.grid.index_of(node_id))

    def _loop(
        self, strategy: Strategy, journal: RunJournal, randomness: StrategyRandomness, log: EventLog
    ) -> RoundLoop:
        exchange = Exchange(grid=self.grid, control=self.control, emit=log.emit, client_of=self._client_of)
        return RoundLoop(
            exchange=exchange,
            strategy=strategy,
            settings=round_settings(self.config),
            randomness=randomness,
            control=self.control,
            journal=journal,
            emit=log.emit,
            evaluate=central_evaluation(self.grid, self.data, self.config),
            early_stop=early_stop_of(self.config, self.run_dir),
        )

    def _announce(self, log: EventLog, arrays: ArrayRecord, first_round: int) -> None:
        named = [client_id_of(index) for index in range(min(self.data.num_clients, _MAX_NAMED_CLIENTS))]
        log.emit(
            RunStarted(
                config=dict(self.config.as_flat()),
                first_round=first_round,
                clients=named,
                num_clients=self.data.num_clients,
                num_parameters=num_parameters(from_array_record(arrays)),
                workers=num_workers_of(self.config),
            )
        )
        histograms = {client: self.data.histogram(index) for index, client in enumerate(named)}
        log.emit(PartitionDescribed(class_names=list(self.data.class_names), histograms=histograms))
