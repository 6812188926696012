"""Who may come: the tokens that were given out, and the clients that were enrolled, with the part of the data each has.

One SQLite file, one transaction a change. Tokens are kept as digests: whoever reads the file cannot join with it.
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path

from shared.crypto.keys import SERVER_ID, is_valid_id
from shared.errors import ConstellationError, StoreError
from shared.joining import EnrollRequest

_SCHEMA = """
CREATE TABLE IF NOT EXISTS token (digest TEXT PRIMARY KEY, expires REAL NOT NULL, uses_left INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS client (
    client_id TEXT PRIMARY KEY, node_key TEXT NOT NULL UNIQUE, signing_key TEXT NOT NULL,
    partition_id INTEGER UNIQUE, enrolled REAL NOT NULL);
"""
_SECRET_BYTES = 24
UNLIMITED = -1  # uses of a token


class EnrollRefused(ConstellationError):
    """A client cannot be enrolled as it asks; says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolledClient:
    """One client that may come."""

    client_id: str
    node_key: str
    signing_key: str
    partition_id: int | None  # None with its own data


class Book:
    """The file."""

    def __init__(self, path: Path) -> None:
        """Open or make the file, readable by its owner only.

        Raises:
            StoreError: It cannot be opened, or is something else.
        """
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.touch(mode=0o600)
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=10.0)
            self._db.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"the list of clients {path} cannot be opened: {error}") from error
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def new_secret(self, *, expires: float, uses: int) -> str:
        """Make a secret that lets so many clients in until then; ``uses`` may be ``UNLIMITED``."""
        secret = secrets.token_urlsafe(_SECRET_BYTES)
        with self._lock, self._db:
            self._db.execute("INSERT INTO token VALUES (?, ?, ?)", (_digest(secret), expires, uses))
        return secret

    def forget_secret(self, secret: str) -> None:
        """Let nobody in with this secret any more."""
        with self._lock, self._db:
            self._db.execute("DELETE FROM token WHERE digest = ?", (_digest(secret),))

    def is_valid(self, secret: str, now: float) -> bool:
        """Tell whether a secret lets somebody in."""
        with self._lock:
            row = self._db.execute(
                "SELECT 1 FROM token WHERE digest = ? AND expires > ? AND uses_left != 0", (_digest(secret), now)
            ).fetchone()
        return row is not None

    def enroll(self, request: EnrollRequest, secret: str, now: float, num_partitions: int) -> EnrolledClient:
        """Enroll a client, or find it enrolled as it asks; a new one uses the secret up by one.

        Raises:
            EnrollRefused: Not with this secret, name, key or part of the data.
        """
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                client = self._enroll(request, secret, now, num_partitions)
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
        return client

    def clients(self) -> list[EnrolledClient]:
        """Return all enrolled clients by name."""
        with self._lock:
            rows = self._db.execute(
                "SELECT client_id, node_key, signing_key, partition_id FROM client ORDER BY client_id"
            ).fetchall()
        return [_client(row) for row in rows]

    def _enroll(self, request: EnrollRequest, secret: str, now: float, num_partitions: int) -> EnrolledClient:
        if not is_valid_id(request.client_id) or request.client_id == SERVER_ID:
            raise EnrollRefused("client-id must be 1 to 64 letters, digits, '.', '_' or '-', and not 'server'")
        known = self._find(request.client_id)
        if known is not None:
            self._check_same(known, request)
            return known
        used = self._db.execute(
            "UPDATE token SET uses_left = MAX(uses_left - 1, -1) WHERE digest = ? AND expires > ? AND uses_left != 0",
            (_digest(secret), now),
        )
        if used.rowcount != 1:
            raise EnrollRefused("the token is used up or has expired; ask for another: constellation token")
        partition = None if request.own_data else self._partition(request.partition_id, num_partitions)
        try:
            self._db.execute(
                "INSERT INTO client VALUES (?, ?, ?, ?, ?)",
                (request.client_id, request.node_key, request.signing_key, partition, now),
            )
        except sqlite3.IntegrityError as error:
            raise EnrollRefused(
                "this node key is another client's; give each client a state folder of its own"
            ) from error
        found = self._find(request.client_id)
        assert found is not None
        return found

    def _find(self, client_id: str) -> EnrolledClient | None:
        row = self._db.execute(
            "SELECT client_id, node_key, signing_key, partition_id FROM client WHERE client_id = ?", (client_id,)
        ).fetchone()
        return _client(row) if row else None

    def _check_same(self, known: EnrolledClient, request: EnrollRequest) -> None:
        if (known.node_key, known.signing_key) != (request.node_key, request.signing_key):
            raise EnrollRefused(
                f"{request.client_id} is enrolled with other keys; use another --client-id, or start the client with "
                "the state folder that it was enrolled with"
            )
        if request.own_data != (known.partition_id is None):
            raise EnrollRefused(f"{request.client_id} is enrolled with other data; use another --client-id")
        if request.partition_id not in (-1, known.partition_id):
            raise EnrollRefused(
                f"{request.client_id} has partition {known.partition_id}; leave --partition-id out, or use another id"
            )

    def _partition(self, wanted: int, num_partitions: int) -> int:
        taken = {row[0] for row in self._db.execute("SELECT partition_id FROM client WHERE partition_id NOT NULL")}
        if wanted == -1:
            free = next((number for number in range(num_partitions) if number not in taken), None)
            if free is None:
                raise EnrollRefused(
                    f"all {num_partitions} partitions of the data are taken; start the server with more --num-clients"
                )
            return free
        if not 0 <= wanted < num_partitions:
            raise EnrollRefused(f"partition-id must be 0 to {num_partitions - 1}, got {wanted}")
        if wanted in taken:
            raise EnrollRefused(f"partition {wanted} is another client's; leave --partition-id out to be given one")
        return wanted


def _client(row: tuple[str, str, str, int | None]) -> EnrolledClient:
    client_id, node_key, signing_key, partition_id = row
    return EnrolledClient(client_id=client_id, node_key=node_key, signing_key=signing_key, partition_id=partition_id)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
