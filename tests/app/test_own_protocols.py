"""Strategies and ClientApps that exchange more than Flower's own do, through workers, signatures and checkpoints."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg

from app.engine.checkpoint import CheckpointStore
from app.engine.client_handler import ClientHandler
from app.engine.control import FreeRun
from app.engine.exchange import Exchange
from app.engine.local_grid import LocalGrid, Nodes
from app.engine.randomness import StrategyRandomness
from app.engine.rounds import RoundLoop, RoundSettings
from app.engine.stages import Stage
from app.engine.worker_pool import WorkerPool
from app.engine.zygote import Zygote
from app.journal import RunJournal
from app.strategies.verification import ExpectedArrays
from app.strategies.verified import VerifiedStrategy
from app.strategies.wrapper import StrategyWrapper
from client.signing_mod import ClientIdentity, make_signing_mod
from shared import events as ev
from shared.crypto.directory import MemoryDirectory
from shared.events import Event
from shared.parameters import ArraySpec
from shared.records import from_array_record, to_array_record
from tests.actors import identity, private_key

CLIENTS = [f"client-{index}" for index in range(4)]
HOSTILE = 3  # this client's number
INITIAL = {"w": np.zeros(3, np.float32), "b": np.zeros((2, 2), np.float32)}


def plus(arrays: ArrayRecord, value: float) -> ArrayRecord:
    """Add a number to every value."""
    return to_array_record({name: array + np.float32(value) for name, array in from_array_record(arrays).items()})


def client_app() -> ClientApp:
    """Train: the model + 1, the variates + the client's number (the hostile one's are NaN). Stages: its number."""

    def who(context: Context) -> ClientIdentity:
        number = int(str(context.node_config["partition-id"]))
        is_forger = number == HOSTILE and bool(context.run_config["forge"])
        return identity(CLIENTS[number], key_name="mallory" if is_forger else "")

    sign = make_signing_mod(who, lambda _: private_key("server").public_key())
    app = ClientApp(mods=[sign])

    @app.train()
    def train(message: Message, context: Context) -> Message:
        number = int(str(context.node_config["partition-id"]))
        content = RecordDict({"arrays": plus(message.content.array_records["arrays"], 1)})
        if "variates" in message.content:
            value = np.nan if number == HOSTILE else number
            content["variates"] = plus(message.content.array_records["variates"], value)
        content["metrics"] = MetricRecord({"num-examples": 10})
        return Message(content, reply_to=message)

    @app.train("numbers")
    def numbers(message: Message, context: Context) -> Message:
        metrics = MetricRecord({"number": 1 + int(str(context.node_config["partition-id"]))})
        return Message(RecordDict({"m": metrics}), reply_to=message)

    return app


class WithVariates(FedAvg):
    """Sends control variates beside the model and takes the mean of the clients', as SCAFFOLD does."""

    def __init__(self) -> None:
        super().__init__(min_train_nodes=1, min_available_nodes=1, fraction_evaluate=0.0)
        self.variates = dict(INITIAL)
        self.reply_schema = VariatesSchema()

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        messages = list(super().configure_train(server_round, arrays, config, grid))
        for message in messages:
            message.content["variates"] = to_array_record(self.variates)
        return messages

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        received = list(replies)
        sent = [from_array_record(reply.content.array_records["variates"]) for reply in received]
        self.variates = {name: np.mean([one[name] for one in sent], axis=0) for name in self.variates}
        for reply in received:
            del reply.content["variates"]  # FedAvg wants one array record
        return super().aggregate_train(server_round, received)


class VariatesSchema:
    def expected(self, phase: str, model: Mapping[str, ArraySpec]) -> Mapping[str, ExpectedArrays]:
        return {"arrays": ExpectedArrays(specs=model, is_update=True), "variates": ExpectedArrays(specs=model)}


class TwoStages(FedAvg):
    """Asks every client for a number before it trains."""

    def __init__(self, min_replies: int) -> None:
        super().__init__(min_train_nodes=1, min_available_nodes=1, fraction_evaluate=0.0)
        self.stage = Stage(name="numbers", timeout_s=60.0, min_replies=min_replies)
        self.totals: list[float] = []

    def stages(self, server_round: int) -> Sequence[Stage]:
        return [self.stage]

    def configure_stage(
        self, stage: Stage, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        return [Message(RecordDict({"config": config}), node, stage.phase) for node in grid.get_node_ids()]

    def finish_stage(self, stage: Stage, server_round: int, replies: Sequence[Message]) -> None:
        self.totals.append(sum(float(str(reply.content.metric_records["m"]["number"])) for reply in replies))


class Run:
    """One start of a run in ``folder``: a second one in the same folder goes on from its checkpoint."""

    def __init__(self, folder: Path, strategy: FedAvg | StrategyWrapper, *, forge: bool = False) -> None:
        self._folder = folder
        self._strategy = strategy
        self._forge = forge
        self.events: list[Event] = []

    def rounds(self, num_rounds: int) -> dict[str, np.ndarray]:
        """Run up to this round; returns the model."""
        with self._grid() as grid, closing(CheckpointStore(self._folder)) as store:
            directory = MemoryDirectory()
            for name in CLIENTS:
                directory.enroll(name, private_key(name).public_key())
            strategy = VerifiedStrategy(
                self._strategy,
                run_id="run-1",
                server_key=private_key("server"),
                directory=directory,
                emit=self.events.append,
                client_of=lambda node: CLIENTS[grid.index_of(node)],
            )
            journal = RunJournal(store, strategy, grid)
            randomness = StrategyRandomness(1)
            first_round, arrays = 1, to_array_record(INITIAL)
            if self._folder.joinpath("resume").exists():
                closed, arrays = journal.restore(randomness)
                first_round = closed + 1
            loop = RoundLoop(
                exchange=Exchange(
                    grid=grid, control=FreeRun(), emit=self.events.append, client_of=strategy.name_at
                ),
                strategy=strategy,
                settings=RoundSettings(num_rounds=num_rounds, min_clients=1, timeout_s=60.0, quorum=1.0),
                randomness=randomness,
                control=FreeRun(),
                journal=journal,
                emit=self.events.append,
            )  # fmt: skip
            model = from_array_record(loop.run(arrays, first_round))
        self._folder.joinpath("resume").touch()
        return model

    @contextmanager
    def _grid(self) -> Iterator[LocalGrid]:
        def handler() -> ClientHandler:
            return ClientHandler(app=client_app(), run_config={"forge": self._forge}, calls={}, decoded={})

        nodes = Nodes(count=len(CLIENTS), config_of=lambda index: {"partition-id": index})
        with LocalGrid(WorkerPool(Zygote(handler), 2), nodes) as grid:
            yield grid

    def of(self, kind: type[Event]) -> list:  # type: ignore[type-arg]
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture(scope="module", autouse=True)
def _keys() -> None:
    """Make every key before workers are forked, or each would make its own."""
    for name in (*CLIENTS, "mallory", "server"):
        private_key(name)


def test_control_variates_travel_are_checked_and_survive_a_restart(tmp_path: Path) -> None:
    run = Run(tmp_path, WithVariates())
    run.rounds(2)
    assert {(event.client, event.reason) for event in run.of(ev.UpdateRejected)} == {("client-3", "non-finite")}
    assert len(run.of(ev.UpdateAccepted)) == 2 * 3

    strategy = WithVariates()
    model = Run(tmp_path, strategy).rounds(4)
    # The model grows by 1 a round, the variates by the mean of the good clients' numbers: (0 + 1 + 2) / 3 = 1.
    assert {name: set(array.ravel()) for name, array in model.items()} == {"w": {4.0}, "b": {4.0}}
    assert {name: set(array.ravel()) for name, array in strategy.variates.items()} == {"w": {4.0}, "b": {4.0}}


def test_every_stage_of_a_round_is_signed_and_verified(tmp_path: Path) -> None:
    strategy = TwoStages(min_replies=3)
    run = Run(tmp_path, strategy, forge=True)
    model = run.rounds(2)
    assert strategy.totals == [1 + 2 + 3] * 2  # not the 4 of the one whose signature does not hold
    assert set(model["w"]) == {2.0}
    refused = [(event.phase, event.client, event.reason) for event in run.of(ev.UpdateRejected)]
    assert refused == [(phase, "client-3", "unknown-key") for phase in ("train.numbers", "train")] * 2
    ended = [(event.phase, event.accepted, event.rejected, event.kept_old_model) for event in run.of(ev.PhaseEnded)]
    assert ended == [("train.numbers", 3, 1, False), ("train", 3, 1, False)] * 2


def test_what_a_stage_accepted_is_told_before_the_stage_ends(tmp_path: Path) -> None:
    run = Run(tmp_path, TwoStages(min_replies=3))
    run.rounds(1)
    kinds = [event.type for event in run.events if event.type in ("update-accepted", "phase-ended")]
    assert kinds == [*["update-accepted"] * 4, "phase-ended"] * 2


def test_a_stage_with_too_few_good_replies_keeps_the_old_model(tmp_path: Path) -> None:
    strategy = TwoStages(min_replies=4)
    run = Run(tmp_path, strategy, forge=True)
    assert set(run.rounds(1)["w"]) == {0.0}
    assert [(event.phase, event.kept_old_model) for event in run.of(ev.PhaseEnded)] == [("train.numbers", True)]


@pytest.mark.parametrize("wrap", [StrategyWrapper, lambda inner: StrategyWrapper(StrategyWrapper(inner))])
def test_stages_show_through_other_wrappers(tmp_path: Path, wrap: Callable[[TwoStages], StrategyWrapper]) -> None:
    strategy = TwoStages(min_replies=3)
    Run(tmp_path, wrap(strategy)).rounds(1)
    assert strategy.totals == [1 + 2 + 3 + 4]
