"""Checkpoints: whole or not at all, across kill -9, and refused when they are damaged."""

import os
import random
import signal
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import pytest

from app.engine.checkpoint import CHECKPOINT_FILE, Checkpoint, CheckpointStore, _digest
from shared.errors import CheckpointError, RunFailed


def checkpoint(server_round: int) -> Checkpoint:
    arrays = {"w": np.full((3, 2), server_round, np.float32), "n": np.array(server_round, np.int64)}
    return Checkpoint(
        server_round=server_round, arrays=arrays, strategy=b"state%d" % server_round, facts={"x": [1, 2.5, "y"]}
    )


def test_the_last_closed_round_reads_back_as_it_was_written(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    for server_round in range(4):
        store.save(checkpoint(server_round), {})
    store.close()
    loaded = CheckpointStore(tmp_path).load()
    assert loaded.server_round == 3
    assert list(loaded.arrays) == ["w", "n"]  # the order that strategies go by
    assert loaded.arrays["w"].tobytes() == np.full((3, 2), 3, np.float32).tobytes()
    assert loaded.arrays["n"].shape == ()
    assert (loaded.strategy, loaded.facts) == (b"state3", {"x": [1, 2.5, "y"]})


def test_client_states_are_read_as_of_the_resumed_round(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    store.save(checkpoint(1), {0: b"a1", 1: b"b1"})
    store.save(checkpoint(2), {1: b"b2"})
    store.save(checkpoint(3), {2: b"c3"})
    assert store.load_states(3) == {0: b"a1", 1: b"b2", 2: b"c3"}
    assert store.load_states(2) == {0: b"a1", 1: b"b2"}


def test_old_rounds_and_states_do_not_pile_up(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    for server_round in range(50):
        store.save(checkpoint(server_round), {0: bytes(1000), 1: bytes(1000)})
    store.close()
    db = sqlite3.connect(tmp_path / CHECKPOINT_FILE)
    assert db.execute("SELECT count(*) FROM closed_round").fetchone() == (2,)
    assert db.execute("SELECT count(*) FROM client_state").fetchone() == (4,)
    db.close()


def test_attempts_of_a_round_count_up_and_outlive_the_process(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    assert [store.begin_attempt(1), store.begin_attempt(1), store.begin_attempt(2)] == [1, 2, 1]
    store.close()
    assert CheckpointStore(tmp_path).begin_attempt(1) == 3


@pytest.mark.parametrize("column", ["model", "strategy", "facts"])
def test_a_changed_checkpoint_is_refused(tmp_path: Path, column: str) -> None:
    store = CheckpointStore(tmp_path)
    store.save(checkpoint(1), {})
    store.close()
    db = sqlite3.connect(tmp_path / CHECKPOINT_FILE)
    (value,) = db.execute(f"SELECT {column} FROM closed_round").fetchone()
    changed = value.replace("1", "2", 1) if isinstance(value, str) else bytes([*value[:-1], value[-1] ^ 1])
    db.execute(f"UPDATE closed_round SET {column} = ?", (changed,))
    db.commit()
    db.close()
    with pytest.raises(CheckpointError, match="is corrupt"):
        CheckpointStore(tmp_path).load()


def rewritten(folder: Path, **values: object) -> None:
    """Put values into the last closed round, with the digest that fits them: it is no secret."""
    store = CheckpointStore(folder)
    store.save(checkpoint(1), {})
    store.close()
    with closing(sqlite3.connect(folder / CHECKPOINT_FILE)) as db:
        columns = ("server_round", "model", "strategy", "facts")
        row = dict(zip(columns, db.execute(f"SELECT {', '.join(columns)} FROM closed_round").fetchone(), strict=True))
        row |= values
        digest = b""
        with suppress(TypeError, AttributeError):
            digest = _digest(**row)
        db.execute(
            "UPDATE closed_round SET server_round=?, model=?, strategy=?, facts=?, digest=?", [*row.values(), digest]
        )
        db.commit()


@pytest.mark.parametrize(
    "values",
    [
        {"facts": "{"},
        {"facts": "[" * 100_000},
        {"facts": "[1]"},
        {"facts": '{"facts": {}}'},
        {"facts": '{"facts": {}, "order": ["other"]}'},
        {"facts": '{"facts": {}, "order": [["w"]]}'},
        {"facts": '{"facts": 3, "order": []}'},
        {"facts": b"{}"},
        {"model": b""},
        {"model": "text"},
        {"model": 5},
        {"strategy": "text"},
        {"server_round": -5},
        {"server_round": 2**62},
    ],
    ids=str,
)
def test_hostile_values_with_a_digest_that_fits_are_refused(tmp_path: Path, values: dict[str, object]) -> None:
    rewritten(tmp_path, **values)
    with pytest.raises(CheckpointError, match="is corrupt"):
        CheckpointStore(tmp_path).load()


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TRIGGER t AFTER INSERT ON attempt BEGIN DELETE FROM closed_round; END",
        "CREATE VIEW v AS SELECT 1",
        "CREATE TABLE other (a)",
        "DROP TABLE closed_round; CREATE VIEW closed_round AS WITH RECURSIVE c(x) AS "
        "(SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x AS server_round FROM c",
    ],
)
def test_a_file_that_brings_its_own_sql_is_refused(tmp_path: Path, sql: str) -> None:
    rewritten(tmp_path)
    with closing(sqlite3.connect(tmp_path / CHECKPOINT_FILE)) as db:
        db.executescript(sql)
    with pytest.raises(CheckpointError, match="other tables"):
        CheckpointStore(tmp_path)


def test_client_states_and_attempts_of_other_types_are_refused(tmp_path: Path) -> None:
    rewritten(tmp_path)
    with closing(sqlite3.connect(tmp_path / CHECKPOINT_FILE)) as db:
        db.execute("INSERT INTO client_state VALUES ('x', 1, 'text')")
        db.execute("INSERT INTO attempt VALUES (2, 'many'), (3, 9223372036854775807)")
        db.commit()
    store = CheckpointStore(tmp_path)
    with pytest.raises(CheckpointError, match="client's state"):
        store.load_states(1)
    for server_round in (2, 3):
        with pytest.raises(CheckpointError, match="no number"):
            store.begin_attempt(server_round)


@pytest.mark.parametrize("content", [b"", b"not a database at all" * 100, b"SQLite format 3\0" + bytes(4000)])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / CHECKPOINT_FILE).write_bytes(content)
    with pytest.raises(CheckpointError):
        CheckpointStore(tmp_path).load()


def test_a_truncated_checkpoint_is_refused(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    big = Checkpoint(server_round=1, arrays={"w": np.ones(50_000)}, strategy=b"", facts={})
    store.save(big, {})
    store.close()
    path = tmp_path / CHECKPOINT_FILE
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(CheckpointError, match="is corrupt"):
        CheckpointStore(tmp_path).load()


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match="cannot be written"):
        CheckpointStore(tmp_path / "missing")


def test_kill_9_at_any_moment_leaves_a_whole_round(tmp_path: Path) -> None:
    rng = random.Random(5)
    for _ in range(10):
        read_end, write_end = os.pipe()
        child = os.fork()
        if child == 0:
            _write_for_ever(tmp_path, write_end)
        wanted = rng.randrange(1, 40)
        closed = [int.from_bytes(os.read(read_end, 4), "big") for _ in range(wanted)]
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(read_end)
        os.close(write_end)
        store = CheckpointStore(tmp_path)
        loaded = store.load()
        assert loaded.server_round >= closed[-1]  # what was reported closed is there
        assert loaded.arrays["w"].tobytes() == np.full((3, 2), loaded.server_round, np.float32).tobytes()
        assert store.load_states(loaded.server_round)[0] == b"%d" % loaded.server_round
        store.close()


def _write_for_ever(folder: Path, report: int) -> None:
    store = CheckpointStore(folder)
    for server_round in range(10**6):
        store.begin_attempt(server_round)
        store.save(checkpoint(server_round), {0: b"%d" % server_round})
        os.write(report, server_round.to_bytes(4, "big"))
