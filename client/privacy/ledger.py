"""What was ever done with a client's data: written before it is done, never forgotten, never set back.

A client has a folder of its own (0700) with, each 0600:

* ``key``: the key of the codes (HMAC-SHA256) on the other files. Made once.
* ``anchor.json``: how often the ledger of each data set was written.
* ``<data set>.json``: that data set's ledger: the history of steps, the count, and the plan of the run under way.

A ledger is written first and the anchor after it, both whole, both on disk, before a step is taken. So a kill leaves
the ledger at the anchor's count or one ahead, and a charge that was not acted upon stays charged. A ledger behind the
anchor was set back, one that the anchor names and that is not there was removed, one whose code is wrong was edited:
none is trusted, and nothing is trained. Whoever restores the whole folder from a backup is not found out.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import math
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from shared.crypto.keys import is_valid_id
from shared.errors import PrivacyRefused
from shared.privacy.history import History, Segment
from shared.private_files import new_file, read_private_file, replace_file, sync_folder
from shared.reasons import Reason

KEY_FILE, ANCHOR_FILE, LOCK_FILE = "key", "anchor.json", "lock"
_KEY_BYTES = 32
_MAX_FILE_BYTES = 4 * 1024 * 1024  # some 40,000 changes of noise or sampling in a life
_MAX_COUNT = 2**53
_TAG = b"constellation/privacy-ledger/v1\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The noise of a run: calibrated once, for all its rounds."""

    run: str
    target_epsilon: float
    delta: float
    sample_rate: float
    steps: int  # of all rounds together
    noise_multiplier: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """The ledger of one data set."""

    dataset: str
    count: int = 0  # how often it was written
    history: History = ()
    plan: Plan | None = None


class PrivacyLedger:
    """One client's ledgers. Several processes may use it at once; one at a time is in."""

    def __init__(self, folder: Path, client_id: str) -> None:
        """Name the folder that holds the clients' folders; this client's is made when it first trains.

        Raises:
            PrivacyRefused: The id cannot be part of a file's name.
        """
        if not is_valid_id(client_id):
            raise _untrusted(f"client id {client_id[:80]!r} cannot name a folder")
        self.folder = folder / client_id
        self._client_id = client_id

    @contextlib.contextmanager
    def opened(self, dataset: str) -> Iterator[OpenLedger]:
        """Lock and read the ledger of a data set; what was charged is on disk when ``charge`` returns.

        Raises:
            PrivacyRefused: It is missing, was edited or set back, or cannot be read or written.
        """
        try:
            if not self.folder.exists():
                _create(self.folder)
            with _locked(self.folder / LOCK_FILE):
                key = _read_key(self.folder)
                yield OpenLedger(self.folder, self._client_id, key, dataset)
        except OSError as error:
            raise _untrusted(
                f"the privacy ledger in {self.folder} cannot be used: {error.strerror or error}; "
                "nothing is trained until it can"
            ) from error


class OpenLedger:
    """The ledger of one data set while it is locked."""

    def __init__(self, folder: Path, client_id: str, key: bytes, dataset: str) -> None:
        self._folder, self._client_id, self._key = folder, client_id, key
        self._name = hashlib.sha256(dataset.encode()).hexdigest()[:32]
        self._counts = self._read_anchor()
        self.entry = self._read_entry(dataset)

    def charge(self, history: History, plan: Plan | None) -> None:
        """Write a longer history; nothing of it may be done before this returns."""
        self.entry = replace(self.entry, count=self.entry.count + 1, history=history, plan=plan)
        self._write(self._path, asdict(self.entry))
        self._counts[self._name] = self.entry.count
        self._write(self._folder / ANCHOR_FILE, {"counts": self._counts})

    @property
    def _path(self) -> Path:
        return self._folder / f"{self._name}.json"

    def _read_anchor(self) -> dict[str, int]:
        path = self._folder / ANCHOR_FILE
        counts = self._read(path).get("counts")
        if not isinstance(counts, dict) or not all(map(_is_count, counts.values())):
            raise _untrusted(f"{path} is not an anchor of privacy ledgers")
        return dict(counts)

    def _read_entry(self, dataset: str) -> Entry:
        anchored = self._counts.get(self._name, 0)
        if not self._path.exists() and not self._path.is_symlink():
            if anchored:
                raise _untrusted(
                    f"the privacy ledger {self._path} is missing, and this client has trained on {dataset!r} "
                    f"{anchored} times; restore it, or its data may not be used again"
                )
            return Entry(dataset=dataset)
        entry = _parse_entry(self._read(self._path), self._path)
        if entry.dataset != dataset:
            raise _untrusted(f"the privacy ledger {self._path} is of another data set")
        if entry.count not in (anchored, anchored + 1):
            raise _untrusted(
                f"the privacy ledger {self._path} was set back or exchanged: it was written {anchored} times, this is "
                f"number {entry.count}; restore the newest one"
            )
        return entry

    def _read(self, path: Path) -> dict[str, object]:
        try:
            document = json.loads(read_private_file(path, _MAX_FILE_BYTES))
            body, code = document["body"], document["hmac"]
            is_authentic = hmac.compare_digest(str(code), self._code(path, body))
        except FileNotFoundError:
            raise _untrusted(f"{path} is missing; restore it, or this client's data may not be used again") from None
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise _untrusted(f"{path} is damaged; restore it") from error
        if not is_authentic or not isinstance(body, dict):
            raise _untrusted(f"{path} was edited: its code does not fit; restore it")
        return body

    def _write(self, path: Path, body: Mapping[str, object]) -> None:
        document = {"body": body, "hmac": self._code(path, body)}
        replace_file(path, json.dumps(document, allow_nan=False).encode())

    def _code(self, path: Path, body: object) -> str:
        """Authenticate a file's content, for this client and this name: files cannot be exchanged."""
        canonical = json.dumps([self._client_id, path.name, body], sort_keys=True, separators=(",", ":"))
        return hmac.digest(self._key, _TAG + canonical.encode(), "sha256").hex()


def _create(folder: Path) -> None:
    """Make a client's folder whole in one step: a kill leaves it complete or not there."""
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    staging = folder.parent / f".new-{secrets.token_hex(8)}"
    staging.mkdir(mode=0o700)
    try:
        key = secrets.token_bytes(_KEY_BYTES)
        replace_file(staging / KEY_FILE, key.hex().encode())
        replace_file(staging / LOCK_FILE, b"")
        with new_file(staging, _empty_anchor(folder, key), mode=0o600) as temporary:
            os.replace(temporary, staging / ANCHOR_FILE)
        sync_folder(staging)
        with contextlib.suppress(FileExistsError, NotADirectoryError):
            os.rename(staging, folder)
    except OSError:
        if not folder.exists():  # another process was first: then its folder is the one
            raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    sync_folder(folder.parent)


def _empty_anchor(folder: Path, key: bytes) -> bytes:
    body: dict[str, object] = {"counts": {}}
    canonical = json.dumps([folder.name, ANCHOR_FILE, body], sort_keys=True, separators=(",", ":"))
    return json.dumps({"body": body, "hmac": hmac.digest(key, _TAG + canonical.encode(), "sha256").hex()}).encode()


def _read_key(folder: Path) -> bytes:
    try:
        key = bytes.fromhex(read_private_file(folder / KEY_FILE, 4 * _KEY_BYTES).decode("ascii"))
    except FileNotFoundError:
        raise _untrusted(
            f"{folder / KEY_FILE} is missing; restore it, or this client's data may not be used again"
        ) from None
    except ValueError as error:
        raise _untrusted(f"{folder / KEY_FILE} is damaged; restore it") from error
    if len(key) != _KEY_BYTES:
        raise _untrusted(f"{folder / KEY_FILE} is damaged; restore it")
    return key


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock that ends with the process."""
    try:
        import fcntl
    except ImportError:
        raise _untrusted("privacy ledgers need file locks, which this system does not have") from None
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _parse_entry(body: Mapping[str, object], path: Path) -> Entry:
    """Read what the code vouches for; it is checked all the same, since what follows from it is a guarantee."""
    try:
        history = tuple(_segment(item) for item in _list(body["history"]))
        plan = None if body["plan"] is None else _plan(body["plan"])
        dataset, count = body["dataset"], body["count"]
    except (KeyError, TypeError, ValueError) as error:
        raise _untrusted(f"{path} is not a privacy ledger that this version reads") from error
    if not isinstance(dataset, str) or not _is_count(count):
        raise _untrusted(f"{path} is not a privacy ledger that this version reads")
    return Entry(dataset=dataset, count=int(str(count)), history=history, plan=plan)


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise TypeError("not a list")
    return value


def _segment(item: object) -> Segment:
    if not isinstance(item, dict):
        raise TypeError("not an object")
    segment = Segment(**item)
    noise, rate, steps = segment.noise_multiplier, segment.sample_rate, segment.steps
    if not (_is_positive(noise) and _is_positive(rate) and rate <= 1 and _is_count(steps) and steps > 0):
        raise ValueError("out of range")
    return segment


def _plan(item: object) -> Plan:
    if not isinstance(item, dict):
        raise TypeError("not an object")
    plan = Plan(**item)
    numbers = (plan.target_epsilon, plan.delta, plan.sample_rate, plan.noise_multiplier)
    if not (isinstance(plan.run, str) and _is_count(plan.steps) and all(map(_is_positive, numbers))):
        raise ValueError("out of range")
    return plan


def _is_positive(value: object) -> bool:
    return type(value) in (int, float) and 0 < float(str(value)) < math.inf


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < _MAX_COUNT


def _untrusted(detail: str) -> PrivacyRefused:
    return PrivacyRefused(Reason.PRIVACY_LEDGER, detail)
