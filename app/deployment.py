"""Runs a federation of SuperNodes from a Flower run config to the run's folder."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from flwr.app import ArrayRecord
from flwr.serverapp import Grid

from app import run_folder, run_lock
from app.engine.amends import missing_round_closed
from app.engine.checkpoint import CheckpointStore
from app.engine.control import FileControl
from app.engine.deployed_grid import quick
from app.engine.ending import run_to_end
from app.engine.exchange import Exchange
from app.engine.randomness import StrategyRandomness
from app.engine.rounds import Evaluate, RoundLoop
from app.engine.settings import early_stop_of, round_settings
from app.initial_model import load_initial_model
from app.journal import RunJournal, open_store
from app.results import RunResult, write_results, write_what_is_there
from app.story import StoryLog
from app.strategies.catalog import make_strategy, policy_of
from app.strategies.privacy import PrivacyTally
from app.strategies.verified import VerifiedStrategy
from monitor.sinks import JsonlSink, last_seq, read_events
from monitor.words import number, percent
from shared.config import RunConfig, Scalar, from_mapping
from shared.crypto.directory import FolderDirectory
from shared.crypto.keys import PUBLIC_SUFFIX, SERVER_ID, KeyStore
from shared.datasets.federated import FederatedData, federate
from shared.errors import ConfigError
from shared.evaluation import batches_of, evaluate
from shared.events import EventLog, EventSink, RunStarted
from shared.models.catalog import build_model
from shared.models.device import choose_device
from shared.models.resident import ResidentModel
from shared.parameters import model_digest, num_parameters
from shared.records import from_array_record, to_array_record
from shared.run_order import CLIENTS, RUN_ID, order_in, settings_in

KEY_PASSWORD_VARIABLE = "CONSTELLATION_KEY_PASSWORD"  # noqa: S105 - the name of a variable, not a password

_log = logging.getLogger("flwr")  # Flower's own, which a ServerApp's process sends to `flwr log`


def run_deployed(grid: Grid, run_config: Mapping[str, Scalar]) -> RunResult:
    """Run a federation over a grid whose clients are elsewhere; everything is checked before a folder is made.

    Args:
        grid: Flower's own.
        run_config: The settings, flat and kebab-case, and the keys of ``shared.run_order`` where our own server
            submits the run: a run whose folder has a closed round goes on from it.

    Raises:
        ConstellationError: The settings or keys cannot be used, or the federation cannot go on.
    """
    order = order_in(run_config)
    config = settings_of(settings_in(run_config))
    keys = server_keys_of(config)
    data = federate(config)
    make_strategy(config)
    model = ResidentModel(
        build_model(config.model, data.input_shape, data.num_classes, config.seed, private=config.dp),
        choose_device(config.device),
    )
    run_dir = _prepared(config, order[RUN_ID]) if order[RUN_ID] else _new(config)
    clients = [name for name in order[CLIENTS].split(",") if name]
    _log.info("run %s: %s, %s on %s", run_dir.name, config.strategy, config.model, config.dataset)
    _log.info("everything about it is written to %s", run_dir)
    with run_lock.held(run_dir), closing(open_store(run_dir, is_new=not order[RUN_ID])) as store:
        result = _Deployment(quick(grid), config, keys, data, model, run_dir, clients).run(store)
    _log.info("loss %s, accuracy %s; report: %s", number(result.loss), percent(result.accuracy), _report(run_dir))
    return result


def _new(config: RunConfig) -> Path:
    return run_folder.create_run_dir(config, run_folder.new_run_id()).absolute()


def _prepared(config: RunConfig, run_id: str) -> Path:
    """Find the folder that was prepared for a run.

    Raises:
        ConfigError: The name is not that of a folder in ``output``.
        CheckpointError: There is no run in it.
    """
    run_dir = (Path(config.output) / run_id).absolute()
    if run_dir.parent != Path(config.output).absolute() or run_dir.name != run_id:
        raise ConfigError(f"{RUN_ID} must be the name of a folder in output, got {run_id!r}")
    run_folder.open_run_dir(run_dir)
    return run_dir


def settings_of(run_config: Mapping[str, Scalar]) -> RunConfig:
    """Read a run's settings.

    Raises:
        ConfigError: A setting is unknown, out of range, or makes sense in a simulation only.
    """
    config = replace(from_mapping(run_config, where="the run config"), engine="flower")
    if config.attack:
        raise ConfigError("attack is for simulations: nobody can ask a deployed client to be hostile; leave it out")
    return config


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ServerKeys:
    """What the server signs with, and who may answer."""

    key: RSAPrivateKey
    directory: FolderDirectory


def server_keys_of(config: RunConfig, environment: Mapping[str, str] = os.environ) -> ServerKeys | None:
    """Read the server's key and the directory of enrolled clients from ``key-dir``; None with signatures off.

    Nothing is made here: a federation whose keys are not where they should be does not start.

    Raises:
        ConfigError: ``key-dir`` is not named, or nobody is enrolled there.
        KeyStoreError: The server's key is not there or may not be used as it is.
    """
    if not config.signatures:
        _log.warning("signatures are off: replies are checked for sane values, but anybody can send them")
        return None
    if not config.key_dir:
        raise ConfigError(
            "signatures are on and key-dir is empty; name the folder on the SuperLink's machine that holds server.pem "
            "and the enrolled clients' keys: flwr run . -c 'key-dir=\"/path/to/keys\"'"
        )
    folder = Path(config.key_dir).expanduser()
    password = environment.get(KEY_PASSWORD_VARIABLE, "").encode() or None
    key = KeyStore(folder, password=password).load(SERVER_ID)
    if not any(path.name != f"{SERVER_ID}{PUBLIC_SUFFIX}" for path in folder.glob(f"*{PUBLIC_SUFFIX}")):
        raise ConfigError(
            f"no client is enrolled in key-dir {folder}; run: constellation keys enroll CLIENT.pub.pem "
            f"--client-id CLIENT --directory {folder}"
        )
    return ServerKeys(key=key, directory=FolderDirectory(folder))


class _Deployment:
    """One run and what it is made of."""

    def __init__(
        self,
        grid: Grid,
        config: RunConfig,
        keys: ServerKeys | None,
        data: FederatedData,
        model: ResidentModel,
        run_dir: Path,
        clients: list[str],
    ) -> None:
        self._grid = grid
        self._config = config
        self._keys = keys
        self._data = data
        self._model = model
        self._run_dir = run_dir
        self._clients = clients

    def run(self, store: CheckpointStore) -> RunResult:
        """Run the rounds and write the results; a run that fails leaves its report too."""
        sinks: list[EventSink] = [JsonlSink(self._run_dir / run_folder.EVENTS_FILE), StoryLog(_log)]
        first_seq = last_seq(self._run_dir / run_folder.EVENTS_FILE) + 1  # earlier starts leave events too
        log = EventLog(self._run_dir.name, sinks, time.time, first_seq)
        try:
            arrays = self._rounds(log, store)
        except BaseException:
            log.close()
            write_what_is_there(self._run_dir)
            raise
        log.close()
        return write_results(self._run_dir, self._config, arrays)

    def _rounds(self, log: EventLog, store: CheckpointStore) -> ArrayRecord:
        strategy = self._strategy(log)
        journal = RunJournal(store, strategy)
        randomness = StrategyRandomness(self._config.seed)
        fresh = self._model.snapshot()
        path = self._config.initial_model
        closed, arrays = 0, to_array_record(load_initial_model(path, fresh) if path else fresh)
        is_resumed = store.has_closed_round()
        if is_resumed:
            closed, arrays = journal.restore(randomness, arrays)
        loop = self._loop(strategy, journal, randomness, log)
        log.emit(
            RunStarted(
                config=dict(self._config.as_flat()),
                first_round=closed + 1,
                clients=self._clients,  # where nobody is expected by name, names come with the first valid replies
                num_clients=self._config.num_clients,
                num_parameters=num_parameters(from_array_record(arrays)),
                workers=0,
            )
        )
        if is_resumed:
            digest = model_digest(from_array_record(arrays)).hex()
            events = read_events(self._run_dir / run_folder.EVENTS_FILE)
            if (lacking := missing_round_closed(events, closed, digest)) is not None:
                log.emit(lacking)
        return run_to_end(loop, arrays, closed + 1, log.emit)

    def _strategy(self, log: EventLog) -> VerifiedStrategy:
        return VerifiedStrategy(
            make_strategy(self._config),
            run_id=self._run_dir.name,
            server_key=self._keys.key if self._keys else None,
            directory=self._keys.directory if self._keys else None,
            policy=policy_of(self._config),
            emit=log.emit,
            require_signatures=self._config.signatures,
            privacy=self._privacy(),
        )

    def _privacy(self) -> PrivacyTally | None:
        """Start the tally of a private run with what the events of earlier starts say."""
        if not self._config.dp:
            return None
        tally = PrivacyTally(self._config)
        events = self._run_dir / run_folder.EVENTS_FILE
        tally.restore(read_events(events) if events.exists() else ())
        return tally

    def _loop(
        self, strategy: VerifiedStrategy, journal: RunJournal, randomness: StrategyRandomness, log: EventLog
    ) -> RoundLoop:
        control = FileControl(self._run_dir)
        return RoundLoop(
            exchange=Exchange(grid=self._grid, control=control, emit=log.emit, client_of=strategy.name_at),
            strategy=strategy,
            settings=round_settings(self._config),
            randomness=randomness,
            control=control,
            journal=journal,
            emit=log.emit,
            evaluate=central_evaluation(self._model, self._data),
            early_stop=early_stop_of(self._config, self._run_dir),
        )


def central_evaluation(model: ResidentModel, data: FederatedData) -> Evaluate | None:
    """Return a function that evaluates the global model on the central test set, in this process."""
    if data.central_test is None:
        return None
    inputs, labels = data.central_test

    def evaluate_centrally(_: int, arrays: ArrayRecord) -> dict[str, float]:
        model.load(from_array_record(arrays))
        metrics = evaluate(model.module, batches_of(inputs, labels))
        return {"loss": metrics.loss, "accuracy": metrics.accuracy}

    return evaluate_centrally


def _report(run_dir: Path) -> Path:
    return run_dir / run_folder.REPORT_FILE
