"""What the next round depends on, on disk after each round: one SQLite file, one transaction a round.

A transaction is all or nothing and on disk when it returns (``synchronous=FULL``): a kill -9 at any moment leaves the
last closed round whole. Client states are written when they change and read as of the round that is resumed. Each
start of a round is recorded before its requests go out: its number, the attempt, is never used twice.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

import safetensors
import safetensors.numpy

from shared.errors import CheckpointError, RunFailed
from shared.parameters import AnyArray

CHECKPOINT_FILE = "checkpoint.sqlite"
_FORMAT = 1
_KEPT_ROUNDS = 2  # the last closed one, and the one before it in case a person wants to look
# A file with other tables is refused, so another wording of these is another format.
_TABLES = """
CREATE TABLE IF NOT EXISTS attempt (server_round INTEGER NOT NULL, attempt INTEGER NOT NULL,
    PRIMARY KEY (server_round, attempt)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS closed_round (server_round INTEGER PRIMARY KEY, model BLOB NOT NULL, strategy BLOB NOT NULL,
    facts TEXT NOT NULL, digest BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS client_state (client INTEGER NOT NULL, server_round INTEGER NOT NULL, state BLOB NOT NULL,
    PRIMARY KEY (client, server_round)) WITHOUT ROWID;
"""
_SCHEMA = "SELECT type, name, tbl_name, sql FROM sqlite_master"
_MAX_COUNT = 2**53  # of rounds, attempts, clients: beyond it somebody made the number up


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """All that the round after ``server_round`` depends on."""

    server_round: int  # the last closed round; 0 is the initial model
    arrays: Mapping[str, AnyArray]
    strategy: bytes  # the strategy's state, in its own serialisation
    facts: Mapping[str, object]  # JSON: random states, seconds so far


class CheckpointStore:
    """The checkpoints of one run. Used from one thread."""

    def __init__(self, run_dir: Path) -> None:
        """Open or make the file.

        Raises:
            CheckpointError: The file is there and is not a checkpoint.
            RunFailed: The file cannot be written.
        """
        self._path = run_dir / CHECKPOINT_FILE
        try:
            self._db = sqlite3.connect(self._path, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            if version not in (0, _FORMAT):
                raise CheckpointError(
                    f"checkpoint {self._path} has format {version}, this version reads {_FORMAT}; "
                    "resume with the version that wrote it"
                )
            self._require_own_tables()
            self._db.executescript(_TABLES)
            self._db.execute(f"PRAGMA user_version={_FORMAT}")
        except sqlite3.OperationalError as error:
            raise RunFailed(
                f"checkpoint {self._path} cannot be written: {error}; free the disk or fix its rights"
            ) from error
        except sqlite3.DatabaseError as error:
            raise self._corrupt(str(error)) from error

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def begin_attempt(self, server_round: int) -> int:
        """Record a start of a round and return its number, from 1; on disk before this returns."""
        with _Writing(self._db, self._path):
            (last,) = self._db.execute(
                "SELECT coalesce(max(attempt), 0) FROM attempt WHERE server_round = ?", (server_round,)
            ).fetchone()
            if not _is_count(last):
                raise self._corrupt(f"the last attempt of round {server_round} is no number")
            self._db.execute("INSERT INTO attempt VALUES (?, ?)", (server_round, last + 1))
        return int(last) + 1

    def save(self, checkpoint: Checkpoint, changed_states: Mapping[int, bytes]) -> None:
        """Write a closed round and the client states that changed in it.

        Raises:
            RunFailed: The disk is full or the file cannot be written; nothing of the round is then in it.
        """
        model = safetensors.numpy.save(dict(checkpoint.arrays))
        # safetensors sorts; strategies (FedAvgM's momentum) go by the order of the arrays.
        facts = json.dumps({"order": list(checkpoint.arrays), "facts": checkpoint.facts})
        digest = _digest(checkpoint.server_round, model, checkpoint.strategy, facts)
        with _Writing(self._db, self._path):
            self._db.execute(
                "INSERT OR REPLACE INTO closed_round VALUES (?, ?, ?, ?, ?)",
                (checkpoint.server_round, model, checkpoint.strategy, facts, digest),
            )
            self._db.executemany(
                "INSERT OR REPLACE INTO client_state VALUES (?, ?, ?)",
                [(client, checkpoint.server_round, state) for client, state in changed_states.items()],
            )
            self._forget_before(checkpoint.server_round - _KEPT_ROUNDS + 1)

    def has_closed_round(self) -> bool:
        """Tell whether there is something to go on with.

        Raises:
            CheckpointError: The file does not read back.
        """
        try:
            return self._db.execute("SELECT 1 FROM closed_round LIMIT 1").fetchone() is not None
        except sqlite3.DatabaseError as error:
            raise self._corrupt(str(error)) from error

    def load(self) -> Checkpoint:
        """Read the last closed round.

        Raises:
            CheckpointError: There is none, or it does not read back as it was written.
        """
        try:
            row = self._db.execute("SELECT * FROM closed_round ORDER BY server_round DESC LIMIT 1").fetchone()
        except sqlite3.DatabaseError as error:
            raise self._corrupt(str(error)) from error
        if row is None:
            raise CheckpointError(f"checkpoint {self._path} holds no closed round; start the run anew")
        try:
            return _read(*row)
        except Exception as error:  # the file may come from anywhere: whatever a parser trips over, it is refused
            raise self._corrupt(str(error) or type(error).__name__) from error

    def load_states(self, server_round: int) -> dict[int, bytes]:
        """Read each client's state as it was when ``server_round`` closed, by node index.

        Raises:
            CheckpointError: The file does not read back.
        """
        query = (
            "SELECT client, state, max(server_round) FROM client_state WHERE server_round <= ? "
            "GROUP BY client ORDER BY client"
        )
        try:
            states = {client: state for client, state, _ in self._db.execute(query, (server_round,))}
        except sqlite3.DatabaseError as error:
            raise self._corrupt(str(error)) from error
        if not all(_is_count(client) and type(state) is bytes for client, state in states.items()):
            raise self._corrupt("a client's state is not one")
        return states

    def _require_own_tables(self) -> None:
        """Refuse views, triggers and tables that are not ours: SQL in a file from elsewhere would be run."""
        with closing(sqlite3.connect(":memory:")) as ours:
            ours.executescript(_TABLES)
            if not set(self._db.execute(_SCHEMA)) <= set(ours.execute(_SCHEMA)):
                raise self._corrupt("it holds other tables than a run's")

    def _forget_before(self, oldest: int) -> None:
        """Drop rounds before ``oldest``, and client states that no kept round would read."""
        self._db.execute("DELETE FROM closed_round WHERE server_round < ?", (oldest,))
        self._db.execute(
            "DELETE FROM client_state WHERE server_round < (SELECT max(newer.server_round) FROM client_state AS newer "
            "WHERE newer.client = client_state.client AND newer.server_round <= ?)",
            (oldest,),
        )

    def _corrupt(self, detail: str) -> CheckpointError:
        return CheckpointError(f"checkpoint {self._path} is corrupt ({detail}); start the run anew or restore the file")


class _Writing:
    """One write transaction: committed whole, or rolled back and reported in one sentence."""

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        self._db = db
        self._path = path

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        try:
            self._db.execute("ROLLBACK" if kind else "COMMIT")
        except sqlite3.Error as failure:
            error = error or failure
        if isinstance(error, sqlite3.Error):
            raise RunFailed(
                f"checkpoint {self._path} cannot be written: {error}; free the disk, then --resume"
            ) from error


def _read(server_round: object, model: bytes, strategy: bytes, facts: str, digest: bytes) -> Checkpoint:
    """Read a row of ``closed_round``.

    Raises:
        Exception: It is not as it was written.
    """
    if not _is_count(server_round) or (type(model), type(strategy), type(facts)) != (bytes, bytes, str):
        raise ValueError("a value is of another type")
    if _digest(server_round, model, strategy, facts) != digest:
        raise ValueError(f"round {server_round} does not match its digest")
    arrays = safetensors.numpy.load(model)
    read = json.loads(facts)
    ordered = {name: arrays[name] for name in read["order"]}
    return Checkpoint(server_round=server_round, arrays=ordered, strategy=strategy, facts=dict(read["facts"]))


def _is_count(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value < _MAX_COUNT


def _digest(server_round: int, model: bytes, strategy: bytes, facts: str) -> bytes:
    digest = hashlib.sha256(f"constellation/checkpoint/v1 {server_round} {len(model)} {len(strategy)} ".encode())
    digest.update(model)
    digest.update(strategy)
    digest.update(facts.encode())
    return digest.digest()
