"""The local grid is Flower's Grid: messages, replies, errors, states, time-outs, and Flower's own Strategy.start."""

import gc
import os
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg

from app.engine.client_handler import ClientHandler
from app.engine.local_grid import LocalGrid, Nodes, ReplyTiming
from app.engine.sharing import SharedRecords
from app.engine.worker_pool import WorkerPool
from app.engine.zygote import Zygote
from shared.errors import WorkerError
from shared.records import BufferArray, from_array_record, to_array_record

LIMIT_S = 60.0


def build_app() -> ClientApp:
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        model = message.content.array_records["arrays"].to_numpy_ndarrays()
        model[0] += 1 + int(context.node_config["partition-id"])  # in place, as apps in the wild do
        metrics = MetricRecord({"num-examples": 1, "pid": os.getpid()})
        return Message(RecordDict({"arrays": ArrayRecord(model), "metrics": metrics}), reply_to=message)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        loss = float(message.content.array_records["arrays"]["0"].numpy().sum())
        return Message(RecordDict({"m": MetricRecord({"num-examples": 2, "loss": loss})}), reply_to=message)

    @app.query("count")
    def count(message: Message, context: Context) -> Message:
        calls = context.state.metric_records.get("calls", MetricRecord({"n": 0}))
        calls["n"] = int(calls["n"]) + 1
        context.state["calls"] = calls
        return Message(RecordDict({"m": MetricRecord({"n": calls["n"], "id": context.node_id})}), reply_to=message)

    @app.query("fail")
    def fail(message: Message, context: Context) -> Message:
        raise ValueError("the client's own bug")

    @app.query("refuse")
    def refuse(message: Message, context: Context) -> Message:
        return Message(Error(code=77, reason="not today"), reply_to=message)

    @app.query("unknown_error")
    def unknown_error(message: Message, context: Context) -> Message:
        return Message(Error(code=0), reply_to=message)

    @app.query("nonsense")
    def nonsense(message: Message, context: Context) -> Message:
        return "hello"  # type: ignore[return-value]

    @app.query("die")
    def die(message: Message, context: Context) -> Message:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    @app.query("hang")
    def hang(message: Message, context: Context) -> Message:
        time.sleep(3600)
        raise AssertionError

    @app.query("config")
    def config(message: Message, context: Context) -> Message:
        values = {**context.node_config, **{f"run.{key}": value for key, value in context.run_config.items()}}
        return Message(RecordDict({"c": ConfigRecord(values)}), reply_to=message)

    return app


def handler() -> ClientHandler:
    def total(arguments: bytes, payload: RecordDict) -> bytes:
        values = from_array_record(payload.array_records[""])["w"]
        return str(float(values.sum()) * int(arguments)).encode()

    return ClientHandler(app=build_app(), run_config={"lr": 0.1}, calls={"total": total}, decoded={})


@pytest.fixture
def grid() -> Iterator[LocalGrid]:
    nodes = Nodes(count=5, config_of=lambda index: {"partition-id": index, "num-partitions": 5})
    with LocalGrid(WorkerPool(Zygote(handler), 2), nodes, run_id=42) as made:
        yield made


def ask(grid: LocalGrid, kind: str, nodes: list[int] | None = None, content: RecordDict | None = None) -> list[Message]:
    wanted = grid.get_node_ids() if nodes is None else nodes
    messages = [Message(content or RecordDict(), node, kind) for node in wanted]
    replies = grid.send_and_receive(messages, timeout=LIMIT_S)
    return sorted(replies, key=lambda reply: reply.metadata.src_node_id)


def test_replies_carry_flowers_metadata(grid: LocalGrid) -> None:
    first = grid.get_node_ids()[0]
    (reply,) = ask(grid, "query.count", [first])
    assert reply.metadata.src_node_id == first
    assert reply.metadata.dst_node_id == 1
    assert reply.metadata.run_id == 42
    assert reply.metadata.message_type == "query.count"
    assert reply.content.metric_records["m"]["id"] == first


def test_each_client_gets_its_own_copy_of_a_shared_model(grid: LocalGrid) -> None:
    model = ArrayRecord([np.zeros(20_000, np.float32)])
    content = RecordDict({"arrays": model, "config": ConfigRecord({"server-round": 1})})
    replies = ask(grid, "train", content=content)
    assert [reply.content.array_records["arrays"]["0"].numpy()[0] for reply in replies] == [1, 2, 3, 4, 5]
    assert model["0"].numpy().sum() == 0


def test_the_model_travels_as_buffers(grid: LocalGrid) -> None:
    model = to_array_record({"w": np.arange(20_000, dtype=np.float32)})
    (reply,) = ask(grid, "train", grid.get_node_ids()[:1], RecordDict({"arrays": model}))
    assert isinstance(model["w"], BufferArray)
    assert "_data" not in model["w"].__dict__  # nobody asked for Flower's serialisation
    assert reply.content.array_records["arrays"]["0"].numpy()[-1] == 20_000


def test_client_state_follows_the_client_across_workers(grid: LocalGrid) -> None:
    for expected in (1, 2, 3):
        replies = ask(grid, "query.count")
        assert [reply.content.metric_records["m"]["n"] for reply in replies] == [expected] * 5


def test_client_states_can_be_saved_and_restored(grid: LocalGrid) -> None:
    nodes = grid.get_node_ids()
    ask(grid, "query.count", nodes[:2])
    saved = grid.take_changed_states()
    assert sorted(saved) == [0, 1]
    assert grid.take_changed_states() == {}
    ask(grid, "query.count", nodes[:1])
    grid.restore_states(saved)
    replies = ask(grid, "query.count", nodes[:3])
    assert [reply.content.metric_records["m"]["n"] for reply in replies] == [2, 2, 1]


@pytest.mark.parametrize(
    ("kind", "code", "text"),
    [
        ("query.fail", 2, "ValueError: the client's own bug"),
        ("query.refuse", 77, "not today"),
        ("query.unknown_error", 0, ""),
        ("query.nonsense", 2, "instead of a Message"),
        ("query.unknown", 2, "No query function registered"),
        ("query.die", 8, "died"),
    ],
)
def test_whatever_goes_wrong_in_a_client_is_an_error_reply(grid: LocalGrid, kind: str, code: int, text: str) -> None:
    first, second = grid.get_node_ids()[:2]
    (reply,) = ask(grid, kind, [first])
    assert reply.has_error()
    assert reply.error.code == code
    assert text in (reply.error.reason or "")
    (other,) = ask(grid, "query.count", [second])
    assert other.has_content()


class Garbage:
    """A worker whose answers are no answers."""

    def __init__(self, parts: Sequence[bytes]) -> None:
        self._parts = parts

    def handle(self, kind: str, head: memoryview, blobs: Sequence[memoryview]) -> Sequence[bytes]:
        return self._parts


@pytest.mark.parametrize("parts", [[], [b"\xc0", b"junk", b""], [b"\xc1", b"", b""], [b"\x01", b"", b""]])
def test_an_answer_that_cannot_be_read_is_an_error_reply(parts: list[bytes]) -> None:
    nodes = Nodes(count=2, config_of=lambda _: {})
    with LocalGrid(WorkerPool(Zygote(lambda: Garbage(parts)), 1), nodes) as grid:
        for reply in ask(grid, "query.count"):
            assert "cannot be read" in (reply.error.reason or "")


def test_what_is_measured_of_a_reply_lives_as_long_as_the_reply(grid: LocalGrid) -> None:
    (reply,) = ask(grid, "query.count", grid.get_node_ids()[:1])
    timing = grid.timing_of(reply)
    assert timing is not None
    assert timing.num_bytes > 0
    del timing, reply
    gc.collect()
    # Also where nobody asks, as under Flower's own Strategy.start.
    assert not [item for item in gc.get_objects() if type(item) is ReplyTiming]


def test_a_node_that_is_not_registered_answers_with_an_error(grid: LocalGrid) -> None:
    (reply,) = ask(grid, "query.count", [7])
    assert reply.has_error()
    assert "not registered" in (reply.error.reason or "")


def test_a_client_that_hangs_is_given_up_at_the_timeout(grid: LocalGrid) -> None:
    hanging, *others = grid.get_node_ids()
    messages = [Message(RecordDict(), hanging, "query.hang")]
    messages += [Message(RecordDict(), node, "query.count") for node in others]
    replies = grid.send_and_receive(messages, timeout=1.0)
    assert sorted(reply.metadata.src_node_id for reply in replies) == others


def test_replies_can_be_pulled_as_they_come(grid: LocalGrid) -> None:
    ids = grid.push_messages([Message(RecordDict(), node, "query.count") for node in grid.get_node_ids()])
    seen: list[str] = []
    while len(seen) < 5:
        replies = grid.wait_messages([known for known in ids if known not in seen], LIMIT_S)
        seen += [reply.metadata.reply_to_message_id for reply in replies]
    assert sorted(seen) == sorted(ids)
    assert list(grid.pull_messages(ids)) == []  # each reply once


def test_node_and_run_config_reach_the_client(grid: LocalGrid) -> None:
    (reply,) = ask(grid, "query.config", grid.get_node_ids()[3:4])
    assert dict(reply.content.config_records["c"]) == {"partition-id": 3, "num-partitions": 5, "run.lr": 0.1}


def test_named_functions_run_on_the_workers(grid: LocalGrid) -> None:
    payload = RecordDict({"": to_array_record({"w": np.ones(4)})})
    assert grid.call_workers("total", [b"1", b"2", b"3"], payload) == [b"4.0", b"8.0", b"12.0"]
    with pytest.raises(WorkerError, match="total failed"):
        grid.call_workers("total", [b"x"], payload)


def test_flowers_own_strategy_start_runs_on_it(grid: LocalGrid, capfd: pytest.CaptureFixture[str]) -> None:
    result = FedAvg(min_train_nodes=5, min_evaluate_nodes=5, min_available_nodes=5).start(
        grid=grid, initial_arrays=ArrayRecord([np.zeros(3, np.float32)]), num_rounds=2
    )
    # Clients add 1..5: the mean is 3 a round, and the loss is the sum of three equal weights.
    np.testing.assert_allclose(result.arrays["0"].numpy(), 6.0)
    assert result.evaluate_metrics_clientapp[2]["loss"] == pytest.approx(18.0)


def test_a_registered_client_costs_nothing_until_it_is_asked() -> None:
    asked: list[int] = []

    def config_of(index: int) -> dict[str, int]:
        asked.append(index)
        return {"partition-id": index}

    with LocalGrid(WorkerPool(Zygote(handler), 1), Nodes(count=1_000_000, config_of=config_of)) as grid:
        ask(grid, "query.count", grid.get_node_ids()[500_000:500_002])
    assert asked == [500_000, 500_001]


def test_replies_come_back_in_the_order_of_the_messages(grid: LocalGrid) -> None:
    nodes = grid.get_node_ids()
    wanted = [nodes[index] for index in (3, 0, 4, 1, 2, 3, 0)]
    replies = grid.send_and_receive([Message(RecordDict(), node, "query.config") for node in wanted], timeout=LIMIT_S)
    assert [reply.metadata.src_node_id for reply in replies] == wanted


def test_a_message_expires_with_an_error_after_its_time_to_live(grid: LocalGrid) -> None:
    hanging, other = grid.get_node_ids()[:2]
    messages = [Message(RecordDict(), hanging, "query.hang", ttl=0.3), Message(RecordDict(), other, "query.count")]
    late, good = grid.send_and_receive(messages)
    assert late.error.code == 3  # Flower's MESSAGE_UNAVAILABLE
    assert "0.3 s" in (late.error.reason or "")
    assert good.has_content()


def test_many_threads_may_send_and_receive_at_once(grid: LocalGrid) -> None:
    def ask_one(node: int) -> int:
        messages = [Message(RecordDict(), node, "query.config")]
        (reply,) = grid.send_and_receive(messages, timeout=LIMIT_S)
        return reply.metadata.src_node_id

    wanted = grid.get_node_ids() * 20
    with ThreadPoolExecutor(max_workers=16) as threads:
        assert list(threads.map(ask_one, wanted)) == wanted


def test_closing_the_grid_frees_whoever_waits_for_a_reply(grid: LocalGrid) -> None:
    def ask_one(node: int) -> list[Message]:
        return grid.send_and_receive([Message(RecordDict(), node, "query.hang")], timeout=LIMIT_S)

    with ThreadPoolExecutor(max_workers=5) as threads:
        waiting = [threads.submit(ask_one, node) for node in grid.get_node_ids()]
        grid.close()
        for future in waiting:
            with pytest.raises(WorkerError, match="ended before"):
                future.result(LIMIT_S)


def test_a_legacy_model_is_sent_to_each_worker_once() -> None:
    tensors = [bytes(40_000), bytes(10)]

    def record() -> ArrayRecord:
        return ArrayRecord({str(i): Array(dtype="", shape=(), stype="x", data=data) for i, data in enumerate(tensors)})

    shared = SharedRecords()
    blob = shared.blob_of(record())
    assert blob is not None
    assert shared.blob_of(record()) is blob  # new Array objects around the same bytes
    assert shared.blob_of(ArrayRecord({"0": record()["0"]})) is not blob
    assert shared.blob_of(ArrayRecord({"1": record()["1"]})) is None  # too small to bother
