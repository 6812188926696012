"""Workers: they answer, share payloads, die and are replaced, and leave nothing behind."""

import os
import signal
import socket
import threading
from collections.abc import Iterator, Sequence

import psutil
import pytest

from app.engine.frames import receive_frame, send_frame
from app.engine.worker import Handler
from app.engine.worker_pool import Blob, Outcome, Task, WorkerPool
from app.engine.zygote import Spawner, SpawnTarget, Zygote
from shared.errors import WorkerError

LIMIT_S = 60.0  # of a wait that must end; never reached when all is well


class Echo:
    """Does what the task's kind says."""

    def __init__(self) -> None:
        self.seen_blobs: dict[int, int] = {}

    def handle(self, kind: str, head: memoryview, blobs: Sequence[memoryview]) -> Sequence[bytes]:
        if kind == "echo":
            return [bytes(head)]
        if kind == "pid":
            return [str(os.getpid()).encode()]
        if kind == "raise":
            raise ValueError("no such thing")
        if kind == "hang":
            os.write(int(bytes(head)), b".")
            signal.pause()
        if kind == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if kind == "fork and die" and os.fork():
            os._exit(1)
        if kind == "fork and die":
            signal.pause()  # ended with the pool
        if kind == "blob":
            self.seen_blobs[id(blobs[0])] = self.seen_blobs.get(id(blobs[0]), 0) + 1
            return [bytes(blobs[0][:4]), str(self.seen_blobs[id(blobs[0])]).encode()]
        if kind == "big":
            return [bytes(int(bytes(head)))]
        raise AssertionError(kind)


def make_echo(**_: object) -> Handler:
    return Echo()


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    made = WorkerPool(Zygote(Echo), 2)
    yield made
    made.close()


def collect(pool: WorkerPool, count: int) -> dict[str, Outcome]:
    found: dict[str, Outcome] = {}
    while len(found) < count:
        outcomes = pool.wait(LIMIT_S)
        assert outcomes, "nothing came"
        found |= {outcome.ticket: outcome for outcome in outcomes}
    return found


def test_frames_carry_parts_of_any_size_through_a_socket() -> None:
    ours, theirs = socket.socketpair()
    parts = [b"", b"x", bytes(3_000_000), *(bytes([i]) for i in range(200))]
    sender = threading.Thread(target=send_frame, args=(ours, parts))
    sender.start()
    received = receive_frame(theirs)
    sender.join()
    assert [bytes(part) for part in received] == parts
    ours.close()
    with theirs, pytest.raises(EOFError):
        receive_frame(theirs)


def test_every_task_is_answered_once(pool: WorkerPool) -> None:
    pool.submit([Task(ticket=str(i), kind="echo", head=str(i).encode()) for i in range(100)])
    found = collect(pool, 100)
    assert {ticket: bytes(outcome.parts[0]) for ticket, outcome in found.items()} == {
        str(i): str(i).encode() for i in range(100)
    }


def test_an_exception_in_a_task_is_its_outcome(pool: WorkerPool) -> None:
    pool.submit([Task(ticket="a", kind="raise", head=b""), Task(ticket="b", kind="echo", head=b"fine")])
    found = collect(pool, 2)
    assert "ValueError: no such thing" in (found["a"].error or "")
    assert not found["a"].is_crash
    assert bytes(found["b"].parts[0]) == b"fine"


def test_a_worker_that_dies_is_replaced_and_only_its_own_task_fails(pool: WorkerPool) -> None:
    before = set(pool.pids)
    tasks = [Task(ticket=str(i), kind="die" if i == 3 else "echo", head=b"x") for i in range(40)]
    pool.submit(tasks)
    found = collect(pool, 40)
    assert [ticket for ticket, outcome in found.items() if outcome.error] == ["3"]
    assert found["3"].is_crash
    assert len(set(pool.pids) - before) == 1


def test_tasks_that_kill_their_workers_one_after_the_other_are_no_failed_starts() -> None:
    pool = WorkerPool(Zygote(Echo), 1)
    kinds = ["die"] * 6 + ["echo"]
    pool.submit([Task(ticket=str(i), kind=kind, head=b"x", cost=-i) for i, kind in enumerate(kinds)])
    found = collect(pool, len(kinds))
    assert [outcome.is_crash for _, outcome in sorted(found.items())] == [True] * 6 + [False]
    pool.close()


def test_what_a_dead_worker_forked_keeps_nobody_waiting(pool: WorkerPool) -> None:
    tasks = [Task(ticket=str(i), kind="fork and die", head=b"x") for i in range(4)]
    pool.submit([*tasks, Task(ticket="last", kind="echo", head=b"fine")])
    found = collect(pool, 5)
    assert [ticket for ticket, outcome in sorted(found.items()) if not outcome.is_crash] == ["last"]


def test_a_handler_that_cannot_be_made_ends_the_wait_with_a_sentence() -> None:
    def broken() -> Handler:
        raise RuntimeError("no handler")

    pool = WorkerPool(Zygote(broken), 1)
    pool.submit([Task(ticket=str(i), kind="echo", head=b"") for i in range(5)])
    with pytest.raises(WorkerError, match="die before they can work"):
        collect(pool, 6)
    pool.close()


def test_a_shared_payload_is_sent_once_and_stays_the_same_object(pool: WorkerPool) -> None:
    blob = Blob(b"model" * 100)
    pool.submit([Task(ticket=str(i), kind="blob", head=b"", blobs=(blob,)) for i in range(20)])
    found = collect(pool, 20)
    assert {bytes(outcome.parts[0]) for outcome in found.values()} == {b"mode"}
    assert sum(bytes(outcome.parts[1]) == b"1" for outcome in found.values()) <= 2  # first seen once a worker


def test_payloads_that_were_forgotten_are_sent_again(pool: WorkerPool) -> None:
    blobs = [Blob(bytes([i]) * 8) for i in range(12)]
    tasks = [Task(ticket=str(i), kind="blob", head=b"", blobs=(blobs[i % 12],)) for i in range(60)]
    pool.submit(tasks)
    found = collect(pool, 60)
    assert all(bytes(found[str(i)].parts[0]) == bytes([i % 12]) * 4 for i in range(60))


def test_large_answers_and_large_payloads_do_not_block_each_other(pool: WorkerPool) -> None:
    blobs = [Blob(bytes(2_000_000)) for _ in range(8)]
    tasks = [Task(ticket=f"b{i}", kind="blob", head=b"", blobs=(blob,)) for i, blob in enumerate(blobs)]
    tasks += [Task(ticket=f"r{i}", kind="big", head=b"2000000") for i in range(40)]
    pool.submit(tasks)
    assert len(collect(pool, 48)) == 48


def test_the_dearest_task_goes_first() -> None:
    pool = WorkerPool(Zygote(Echo), 1)
    # The first is taken at once; the rest wait and are sorted.
    pool.submit([Task(ticket=name, kind="echo", head=b"", cost=cost) for name, cost in (("a", 1), ("b", 3), ("c", 2))])
    order = list(collect(pool, 3))
    assert order == ["b", "c", "a"]
    pool.close()


def test_cancelled_tasks_are_never_answered(pool: WorkerPool) -> None:
    pool.submit([Task(ticket=str(i), kind="echo", head=b"") for i in range(50)])
    pool.cancel([str(i) for i in range(50)])
    pool.submit([Task(ticket="last", kind="echo", head=b"")])
    assert list(collect(pool, 1)) == ["last"]


def test_a_cancelled_task_that_hangs_gives_its_worker_back() -> None:
    read_end, write_end = os.pipe()
    pool = WorkerPool(Zygote(Echo), 1)
    for attempt in range(5):  # more often than a worker may fail to start
        pool.submit([Task(ticket=f"hang-{attempt}", kind="hang", head=str(write_end).encode())])
        os.read(read_end, 1)
        pool.submit([Task(ticket=f"{attempt}-{i}", kind="echo", head=b"") for i in range(9)])
        pool.cancel([f"hang-{attempt}"])
        assert set(collect(pool, 9)) == {f"{attempt}-{i}" for i in range(9)}
    pool.close()


def test_a_worker_that_answers_with_noise_is_replaced(pool: WorkerPool, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = iter([[memoryview(b"\xc1noise")]])
    monkeypatch.setattr("app.engine.worker_pool.receive_frame", lambda sock: next(frames, None) or receive_frame(sock))
    pool.submit([Task(ticket=str(i), kind="echo", head=b"x") for i in range(10)])
    found = collect(pool, 10)
    assert sum(outcome.is_crash for outcome in found.values()) == 1


def test_cancelling_what_may_be_done_by_then_harms_nobody(pool: WorkerPool) -> None:
    for attempt in range(40):
        pool.submit([Task(ticket=f"{attempt}-{i}", kind="echo", head=b"") for i in range(20)])
        pool.cancel([f"{attempt}-{i}" for i in range(0, 20, 2)])
        found = collect(pool, 10)
        assert set(found) == {f"{attempt}-{i}" for i in range(1, 20, 2)}
        assert not [outcome for outcome in found.values() if outcome.error]


def test_closing_leaves_no_process_behind() -> None:
    pool = WorkerPool(Zygote(Echo), 2)
    processes = [psutil.Process(pid) for pid in pool.pids]
    pool.close()
    psutil.wait_procs(processes, timeout=LIMIT_S)
    assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes)


def test_workers_die_with_a_killed_parent() -> None:
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        grandchildren = WorkerPool(Zygote(Echo), 2)
        os.write(write_end, ",".join(map(str, grandchildren.pids)).encode())
        signal.pause()
        os._exit(0)
    workers = [psutil.Process(int(pid)) for pid in os.read(read_end, 100).decode().split(",")]
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    _, alive = psutil.wait_procs(workers, timeout=LIMIT_S)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


def test_spawned_workers_answer_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(os.path.dirname(__file__))
    pool = WorkerPool(Spawner(SpawnTarget(name="test_worker_pool:make_echo", settings={"a": 1})), 2)
    pool.submit([Task(ticket=str(i), kind="echo", head=b"hello") for i in range(6)])
    found = collect(pool, 6)
    assert all(bytes(outcome.parts[0]) == b"hello" for outcome in found.values())
    pool.close()
