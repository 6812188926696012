"""What a server does: a SuperLink behind its door, enrollment beside it, and one run that is seen to its end."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import safetensors.numpy
from cryptography.exceptions import UnsupportedAlgorithm

from app import run_lock
from app.engine.control import forget_control
from app.engine.federation import Federation, LinkOptions, Tls, free_port, is_healthy, require_free_port
from app.joining.book import UNLIMITED, Book
from app.joining.certificates import authority_digest, ensure_tls
from app.joining.service import EnrollmentService
from app.results import RunResult, write_results
from app.story import StoryLog
from constellation import folders, key_ring
from constellation.reporting import Reporting
from constellation.resuming import keep_settings
from constellation.run_watcher import RunWatcher
from constellation.server_home import ServerHome, join_file
from monitor.sinks import read_events
from shared.config import RunConfig
from shared.crypto.keys import SERVER_ID, KeyStore, parse_public_key, public_pem
from shared.datasets.describe import Description, describe
from shared.errors import ConstellationError, KeyStoreError, RunFailed, UsageError
from shared.events import EventSink
from shared.joining import EnrollAnswer, EnrollRequest, Invitation, write_join_file
from shared.records import to_array_record
from shared.run_order import RUN_ID

_log = logging.getLogger("constellation.server")
_MAX_STARTS_WITHOUT_PROGRESS = 3  # of the SuperLink or the ServerApp between two closed rounds
_LOOK_S = 0.3  # between looks at who has come
_DOOR_LIMIT_S = 30.0  # until the door answers
_FOREVER = 2.0**52  # a time that never comes, Unix seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """Where the server is reached."""

    host: str
    fl_port: int
    enroll_port: int  # 0 is any
    names: tuple[str, ...] = ()
    given_tls: tuple[Path, Path, Path] | None = None  # certificate, key, authority


def serve(
    config: RunConfig,
    home: ServerHome,
    listening: Listening,
    reporting: Callable[[], Reporting | None],
    resume: Path | None = None,
) -> RunResult:
    """Serve one run to its end and return its results.

    Args:
        config: The settings.
        home: Where the server keeps what outlives it.
        listening: Where clients reach it.
        reporting: Makes what reports the run to a dashboard; asked anew at each start.
        resume: The folder of a run to go on with.

    Raises:
        ConstellationError: The settings or the ports cannot be used, or the federation cannot go on.
    """
    for port in (listening.fl_port, *([listening.enroll_port] if listening.enroll_port else [])):
        require_free_port(listening.host, port)
    home.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with run_lock.held(home.folder):
        tls = _tls(home, listening)
        KeyStore(home.keys).load_or_create(SERVER_ID)
        settings = replace(config, key_dir=str(home.keys), output=str(Path(config.output).absolute()))
        description = describe(settings, home.folder)
        run_dir = (resume or folders.create_run_dir(settings, folders.new_run_id())).absolute()
        if resume:
            keep_settings(run_dir, settings)
            forget_control(run_dir)
        book = Book(home.book)
        try:
            own = replace(settings, output=str(run_dir.parent))
            _Server(own, home, listening, tls, description, run_dir, book, reporting).run()
        finally:
            book.close()
    return _result(settings, run_dir)


class _Server:
    """One server and one run."""

    def __init__(
        self,
        config: RunConfig,
        home: ServerHome,
        listening: Listening,
        tls: Tls,
        description: Description,
        run_dir: Path,
        book: Book,
        reporting: Callable[[], Reporting | None],
    ) -> None:
        self._config = config
        self._home = home
        self._listening = listening
        self._tls = tls
        self._description = description
        self._run_dir = run_dir
        self._book = book
        self._reporting = reporting
        self._federation: Federation | None = None

    def run(self) -> None:
        """See the run to its end; what breaks is started anew, as long as rounds are closed in between."""
        with self._enrollment():
            starts, closed = 0, self._closed_rounds()
            while True:
                try:
                    self._attempt()
                except RunFailed as failure:
                    now_closed = self._closed_rounds()
                    starts = 1 if now_closed > closed else starts + 1
                    closed = now_closed
                    if starts >= _MAX_STARTS_WITHOUT_PROGRESS:
                        raise
                    _log.warning("%s; starting again, the run goes on after round %d", failure, closed)
                else:
                    return

    def _attempt(self) -> None:
        """Start the SuperLink and its door, wait for clients, and follow the run.

        Raises:
            RunFailed: Something broke; the closed rounds stand.
        """
        sinks: list[EventSink] = [StoryLog(_log)]
        if (reporting := self._reporting()) is not None:
            sinks.append(reporting.sink)
        watcher = RunWatcher(self._run_dir, sinks, None, None)
        was_asked = False
        options = LinkOptions(
            port=free_port(), tls=self._tls, enrolls_nodes=True, database=self._home.flower / "link.db"
        )
        try:
            with Federation(folder=self._home.flower, options=options) as federation:
                for client in self._book.clients():
                    federation.register_node(client.node_key.encode(), client.client_id)
                self._federation = federation
                self._open_door(federation)
                try:
                    self._wait_for_clients(federation)
                    flower_run = federation.submit({**self._config.as_flat(), RUN_ID: self._run_dir.name})
                    watcher.watch(federation, flower_run)
                except KeyboardInterrupt:
                    was_asked = True
                    watcher.interrupt(federation)
                    if watcher.ended is None:
                        raise
        finally:
            self._federation = None
            for sink in sinks:
                sink.close()
        self._judge(watcher, was_asked=was_asked)

    @staticmethod
    def _judge(watcher: RunWatcher, *, was_asked: bool) -> None:
        """Tell a run that failed, and will again, from one whose process was ended by somebody else.

        Raises:
            ConstellationError: It failed.
            RunFailed: It can go on.
        """
        if watcher.ended is not None and watcher.ended.state == "failed":
            raise ConstellationError(watcher.ended.error or "the run failed")
        if watcher.ended is not None and watcher.ended.state == "interrupted" and not was_asked:
            raise RunFailed("the ServerApp was ended")

    def _open_door(self, federation: Federation) -> None:
        listening = self._listening
        command = [sys.executable, "-m", "app.joining.front_door", "--host", listening.host]
        command += ["--port", str(listening.fl_port), "--upstream", federation.address]
        command += ["--certificate", str(self._tls.certificate), "--key", str(self._tls.key)]
        command += ["--authority", str(self._tls.authority)]
        door = federation.family.start("door", command)
        deadline = time.monotonic() + _DOOR_LIMIT_S
        while not is_healthy(self._address(), self._tls.authority):
            if not door.is_running or time.monotonic() > deadline:
                raise RunFailed(f"the door to the federation does not open: {door.last_lines(3)}")
            time.sleep(_LOOK_S)
        _log.info("the federation listens on %s:%d", listening.host, listening.fl_port)

    def _wait_for_clients(self, federation: Federation) -> None:
        """Wait until as many clients are enrolled as the run needs; the round loop waits until they are connected."""
        said = -1
        while (num := len(self._book.clients())) < self._config.min_clients:
            if num != said:
                _log.info("waiting for clients %d/%d", num, self._config.min_clients)
            said = num
            if not federation.superlink.is_running:
                raise RunFailed(f"the SuperLink ended: {federation.superlink.last_lines(5)}")
            time.sleep(_LOOK_S)

    @contextmanager
    def _enrollment(self) -> Iterator[None]:
        """Let clients enroll, and leave an invitation for those of the same user on this machine."""
        secret = self._book.new_secret(expires=_FOREVER, uses=UNLIMITED)
        service = EnrollmentService(
            self._listening.host,
            self._listening.enroll_port,
            certificate=self._tls.certificate,
            key=self._tls.key,
            authority=self._tls.authority,
            desk=self,
        )
        invitation = Invitation(
            address=self._address(),
            enroll_port=service.port,
            authority=authority_digest(self._tls.authority.read_bytes()),
            secret=secret,
        )
        path = join_file(self._listening.fl_port)
        write_join_file(path, invitation)
        write_join_file(self._home.facts, invitation)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            self._home.facts.unlink(missing_ok=True)
            self._book.forget_secret(secret)
            service.close()

    def is_valid(self, secret: str) -> bool:
        """Tell whether a secret lets somebody in."""
        return self._book.is_valid(secret, time.time())

    def enroll(self, request: EnrollRequest, secret: str) -> EnrollAnswer:
        """Enroll a client: its keys with the verifier and the SuperLink, its part of the data in the book.

        Raises:
            ConstellationError: Not as it asks.
        """
        signing_key = parse_public_key(request.signing_key.encode(), where="the enrollment")
        node_key = _node_key_pem(request.node_key)
        if request.own_data:
            self._check_schema(request)
        normal = replace(request, node_key=node_key, signing_key=public_pem(signing_key).decode())
        client = self._book.enroll(normal, secret, time.time(), self._config.num_clients)
        key_ring.enroll(self._home.keys, client.client_id, signing_key, max_examples=None, is_replacing=False)
        federation = self._federation
        if federation is not None:  # otherwise it is registered with the others when the SuperLink starts
            federation.register_node(node_key.encode(), client.client_id)
        _log.info("%s is enrolled", client.client_id)
        server_key = KeyStore(self._home.keys).load(SERVER_ID).public_key()
        return EnrollAnswer(
            partition_id=-1 if client.partition_id is None else client.partition_id,
            num_partitions=self._config.num_clients,
            server_key=public_pem(server_key).decode(),
            dataset=self._config.dataset,
            input_shape=self._description.input_shape,
            num_classes=self._description.num_classes,
        )

    def status(self) -> Mapping[str, object]:
        """Return what the federation is doing."""
        facts: dict[str, object] = {
            "run": self._run_dir.name,
            "num_rounds": self._config.num_rounds,
            "clients": [client.client_id for client in self._book.clients()],
            "min_clients": self._config.min_clients,
        }
        return facts | _standing(self._run_dir)

    def _check_schema(self, request: EnrollRequest) -> None:
        wanted = self._description
        if (request.input_shape, request.num_classes) != (wanted.input_shape, wanted.num_classes):
            raise UsageError(
                f"the federation trains on inputs of shape {wanted.input_shape} with {wanted.num_classes} classes, and "
                f"this data has shape {request.input_shape} with {request.num_classes}; prepare it alike"
            )

    def _address(self) -> str:
        host = self._listening.host
        host = "127.0.0.1" if host in ("0.0.0.0", "::", "") else host  # noqa: S104 - compared, not listened on
        return f"[{host}]:{self._listening.fl_port}" if ":" in host else f"{host}:{self._listening.fl_port}"

    def _closed_rounds(self) -> int:
        path = self._run_dir / folders.EVENTS_FILE
        return sum(row.get("type") == "round-closed" for row in read_events(path)) if path.exists() else 0


def _tls(home: ServerHome, listening: Listening) -> Tls:
    if listening.given_tls is not None:
        certificate, key, authority = listening.given_tls
        return Tls(certificate=certificate, key=key, authority=authority)
    return ensure_tls(home.tls, [listening.host, *listening.names])


def _node_key_pem(pem: str) -> str:
    """Read a node's public key and write it in the one form that is compared.

    Raises:
        KeyStoreError: It is no key of a NIST curve.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        key = serialization.load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyStoreError("the node key is no PEM public key") from error
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise KeyStoreError("the node key is not of an elliptic curve")
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def _standing(run_dir: Path) -> dict[str, object]:
    """Say where a run stands, from its events."""
    standing: dict[str, object] = {"state": "starting", "round": 0, "waiting_for": ""}
    path = run_dir / folders.EVENTS_FILE
    if not path.exists():
        return standing | {"waiting_for": "clients"}
    for row in read_events(path):
        kind = row.get("type")
        if kind == "run-waiting":
            standing |= {"state": "waiting", "waiting_for": row.get("reason", "")}
        elif kind in ("run-started", "run-resumed"):
            standing |= {"state": "running", "waiting_for": ""}
        elif kind == "run-paused":
            standing |= {"state": "paused", "waiting_for": "whoever paused it"}
        elif kind == "round-started":
            standing |= {"state": "running", "round": row.get("server-round"), "waiting_for": ""}
        elif kind == "phase-started":
            standing["waiting_for"] = sorted(map(str, row.get("clients") or []))  # type: ignore[arg-type]
        elif kind == "update-received" and isinstance(standing["waiting_for"], list):
            standing["waiting_for"] = [name for name in standing["waiting_for"] if name != row.get("client")]
        elif kind == "run-ended":
            standing |= {"state": row.get("state"), "waiting_for": ""}
    return standing


def _result(config: RunConfig, run_dir: Path) -> RunResult:
    """Read what the ServerApp has written.

    Raises:
        KeyboardInterrupt: It was interrupted before there was a model.
    """
    model_file = run_dir / folders.MODEL_FILE
    if not model_file.exists():
        raise KeyboardInterrupt
    return write_results(run_dir, config, to_array_record(safetensors.numpy.load_file(model_file)))
