"""What a client does: it enrolls once, and keeps a SuperNode running that reconnects for ever."""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography.hazmat.primitives import serialization

from client.joining import NotReached, enroll, fetch_authority
from client.supernode.backoff import Backoff
from client.supernode.identity import load_or_create_node_key
from constellation.client_home import ClientHome
from constellation.server_home import is_loopback, local_invitation, split_address
from monitor.files import write_atomically
from shared.config import RunConfig, Scalar
from shared.crypto.keys import PUBLIC_SUFFIX, SERVER_ID, KeyStore, public_pem
from shared.datasets.describe import Description, describe
from shared.errors import UsageError
from shared.joining import EnrollAnswer, EnrollRequest, Invitation

_log = logging.getLogger("constellation.client")
_OWN_SOURCES = ("folder:", "npz:", "csv:")
_STEADY_S = 60.0  # a SuperNode that lived as long was no failed start
_LOOK_S = 0.5  # between looks for a server on this machine
_END_LIMIT_S = 20.0  # for a SuperNode to leave the federation


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientOptions:
    """What this machine's person asked for."""

    server_address: str
    partition_id: int  # -1 is any
    num_partitions: int | None
    dataset: str
    data_dir: str
    batch_size: int | None
    token: str
    stock_supernode: bool
    allow_plugins: bool
    log_level: str

    @property
    def has_own_data(self) -> bool:
        """Whether this client brings its own data, which is used whole."""
        return self.dataset.startswith(_OWN_SOURCES)

    @property
    def own_config(self) -> RunConfig:
        """The settings that load its own data."""
        return RunConfig(dataset=_absolute(self.dataset), data_dir=self.data_dir, num_clients=1, partition="iid")


def run_client(home: ClientHome, options: ClientOptions) -> None:
    """Enroll where that has not been done, then run a SuperNode until SIGTERM or Ctrl-C.

    Raises:
        ConstellationError: The server does not take this client, or the options do not go together.
    """
    home.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    answer = enrolled(home, options)
    command = supernode_command(home, options, answer)
    backoff = Backoff(first_s=1.0, longest_s=60.0, rng=random.Random())  # noqa: S311 - jitter
    while True:
        start = time.monotonic()
        code = _run_to_end(command)
        if time.monotonic() - start > _STEADY_S:
            backoff.worked()
        pause = backoff.pause()
        _log.warning("the SuperNode ended with code %d; starting it again in %.0f s", code, pause)
        time.sleep(pause)


def enrolled(home: ClientHome, options: ClientOptions) -> EnrollAnswer:
    """Return what was agreed with the server, enrolling first where nothing was; waits for the server for ever.

    Raises:
        ConstellationError: The server does not take this client, or is another one than expected.
    """
    remembered = home.remembered()
    invitation = invitation_of(options)
    if remembered is not None and (invitation is None or invitation.authority == remembered[0].authority):
        answer = remembered[1]
        _check_still_meant(options, answer)
        return answer
    if invitation is None:
        invitation = _awaited(options)
    request = enroll_request(home, options)
    backoff, said = Backoff(first_s=0.5, longest_s=30.0, rng=random.Random()), ""  # noqa: S311 - jitter
    while True:
        try:
            authority = fetch_authority(invitation)
            answer = enroll(invitation, authority, request)
        except NotReached as error:
            if str(error) != said:
                _log.warning("%s: %s; trying again until it works", options.server_address, error)
            said = str(error)
            time.sleep(backoff.pause())
        else:
            break
    _check_still_meant(options, answer)
    write_atomically(home.authority, authority.decode("ascii"))
    write_atomically(home.keys / f"{SERVER_ID}{PUBLIC_SUFFIX}", answer.server_key)
    home.remember(invitation, answer)
    part = "its own data" if answer.partition_id < 0 else f"partition {answer.partition_id} of {answer.num_partitions}"
    _log.info("enrolled at %s as %s with %s", options.server_address, home.client_id, part)
    return answer


def _awaited(options: ClientOptions) -> Invitation:
    """Wait for a server of this user to be started on this machine.

    Raises:
        UsageError: The server is to be elsewhere, where one is invited by a token.
    """
    if not is_loopback(options.server_address):
        raise UsageError(
            f"this client was never enrolled at {options.server_address}; get an invitation there with "
            "`constellation token` and give it with --token"
        )
    _log.info("waiting for a server of yours on %s", options.server_address)
    while (invitation := local_invitation(options.server_address)) is None:
        time.sleep(_LOOK_S)
    return invitation


def invitation_of(options: ClientOptions) -> Invitation | None:
    """Return the invitation: the token's, at the address that was named, or what a server of this user has left.

    Raises:
        UsageError: The token or the address is not of the right form.
    """
    split_address(options.server_address)
    if options.token:
        return replace(Invitation.from_token(options.token), address=options.server_address)
    return local_invitation(options.server_address)


def enroll_request(home: ClientHome, options: ClientOptions) -> EnrollRequest:
    """Make this client's keys where they are missing, and say who it is.

    Raises:
        ConstellationError: A key cannot be made, or its own data cannot be loaded.
    """
    node_key = load_or_create_node_key(home.node_key)
    signing_key = KeyStore(home.keys).load_or_create(home.client_id)
    own = describe(options.own_config, home.folder) if options.has_own_data else None
    public = node_key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return EnrollRequest(
        client_id=home.client_id,
        node_key=public.decode(),
        signing_key=public_pem(signing_key.public_key()).decode(),
        partition_id=-1 if own else options.partition_id,
        own_data=own is not None,
        input_shape=own.input_shape if own else [],
        num_classes=own.num_classes if own else 0,
    )


def check_schema(own: Description, answer: EnrollAnswer) -> None:
    """Hold this client's own data against the federation's.

    Raises:
        UsageError: They do not go together.
    """
    if (own.input_shape, own.num_classes) != (answer.input_shape, answer.num_classes):
        raise UsageError(
            f"the federation trains on inputs of shape {answer.input_shape} with {answer.num_classes} classes, and "
            f"your data has shape {own.input_shape} with {own.num_classes}; prepare it alike"
        )


def supernode_command(home: ClientHome, options: ClientOptions, answer: EnrollAnswer) -> list[str]:
    """Return the command that runs this client's SuperNode."""
    node_config: dict[str, Scalar] = {
        "client-id": home.client_id,
        "key-path": str(home.keys / f"{home.client_id}.pem"),
        "server-key-path": str(home.keys / f"{SERVER_ID}{PUBLIC_SUFFIX}"),
        "partition-id": max(answer.partition_id, 0),
        "num-partitions": answer.num_partitions,
    }
    if not options.allow_plugins:
        node_config["refuse-plugins"] = True
    if answer.partition_id < 0:
        node_config["own-dataset"] = _absolute(options.dataset)
    if options.data_dir:
        node_config["own-data-dir"] = str(Path(options.data_dir).absolute())
    if options.batch_size is not None:
        node_config["own-batch-size"] = options.batch_size
    text = " ".join(f"{key}={json.dumps(value)}" for key, value in node_config.items())
    command = [sys.executable, "-m", "client.supernode", "--superlink", options.server_address]
    command += ["--root-certificates", str(home.authority), "--auth-supernode-private-key", str(home.node_key)]
    command += ["--node-config", text, "--log-level", options.log_level]
    if options.stock_supernode:
        return [*command, "--stock-supernode"]
    return [*command, "--state-dir", str(home.node), "--app", "client.client_app:app"]


def _check_still_meant(options: ClientOptions, answer: EnrollAnswer) -> None:
    """Refuse options that contradict what was agreed.

    Raises:
        UsageError: Names the option.
    """
    if options.num_partitions is not None and options.num_partitions != answer.num_partitions:
        raise UsageError(
            f"num-partitions is {answer.num_partitions} at the server, got {options.num_partitions}; leave it out, or "
            "start the server with another --num-clients"
        )
    if options.partition_id not in (-1, answer.partition_id):
        raise UsageError(
            f"this client was given partition {answer.partition_id}, got --partition-id {options.partition_id}; leave "
            "it out, or use another --client-id"
        )
    if options.has_own_data != (answer.partition_id < 0):
        raise UsageError("this client was enrolled with other data; use another --client-id for it")
    if options.dataset and not options.has_own_data and options.dataset != answer.dataset:
        raise UsageError(f"the federation trains on {answer.dataset}, got --dataset {options.dataset}; leave it out")


def _absolute(dataset: str) -> str:
    source, _, path = dataset.partition(":")
    return f"{source}:{Path(path).expanduser().absolute()}"


def _run_to_end(command: list[str]) -> int:
    """Run a SuperNode; when this process is asked to end, the SuperNode is, and gets time to leave.

    Raises:
        KeyboardInterrupt: This process was asked to end.
    """
    here = str(Path(__file__).resolve().parent.parent)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH", "")]))}
    node = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environment, start_new_session=True)
    try:
        return node.wait()
    except KeyboardInterrupt:
        node.send_signal(signal.SIGTERM)
        try:
            node.wait(_END_LIMIT_S)
        except subprocess.TimeoutExpired:
            node.kill()
            node.wait()
        raise
