"""The enrollment service and a client's side of it, over real TLS on loopback; strangers and liars are turned away."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from app.engine.federation import Tls
from app.joining import service as service_module
from app.joining.book import EnrollRefused
from app.joining.certificates import authority_digest, ensure_tls
from app.joining.service import EnrollmentService
from client.joining import NotEnrolled, NotReached, enroll, fetch_authority, fetch_status, server_time
from shared.errors import UsageError
from shared.joining import EnrollAnswer, EnrollRequest, Invitation

ANSWER = EnrollAnswer(
    partition_id=1, num_partitions=3, server_key="pem", dataset="mnist-sample", input_shape=[1, 28, 28], num_classes=10
)
REQUEST = EnrollRequest(
    client_id="site-a", node_key="n", signing_key="s", partition_id=-1, own_data=False, input_shape=[], num_classes=0
)


class Desk:
    """A server that knows one secret."""

    def __init__(self) -> None:
        self.enrolled: list[EnrollRequest] = []

    def is_valid(self, secret: str) -> bool:
        return secret == "right"

    def enroll(self, request: EnrollRequest, secret: str) -> EnrollAnswer:
        if request.client_id == "refused":
            raise EnrollRefused("not you")
        self.enrolled.append(request)
        return ANSWER

    def status(self) -> Mapping[str, object]:
        return {"round": 3}


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    return ensure_tls(tmp_path_factory.mktemp("tls"), [])


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def invitation(tls: Tls, desk: Desk) -> Iterator[Invitation]:
    service = EnrollmentService(
        "127.0.0.1", 0, certificate=tls.certificate, key=tls.key, authority=tls.authority, desk=desk
    )
    digest = authority_digest(tls.authority.read_bytes())
    yield Invitation(address="127.0.0.1:8080", enroll_port=service.port, authority=digest, secret="right")
    service.close()


def test_a_client_with_the_token_is_enrolled(invitation: Invitation, desk: Desk) -> None:
    authority = fetch_authority(invitation)
    assert enroll(invitation, authority, REQUEST) == ANSWER
    assert desk.enrolled == [REQUEST]
    assert fetch_status(invitation, authority) == {"round": 3}
    assert server_time(invitation, authority) is not None


def test_without_the_secret_nothing_is_told(invitation: Invitation, desk: Desk) -> None:
    authority = fetch_authority(invitation)
    wrong = replace(invitation, secret="wrong")
    with pytest.raises(NotEnrolled, match="the token is not known, used up or has expired"):
        enroll(wrong, authority, REQUEST)
    with pytest.raises(NotEnrolled, match="token"):
        fetch_status(wrong, authority)
    assert desk.enrolled == []


def test_the_servers_reason_reaches_the_person(invitation: Invitation) -> None:
    with pytest.raises(NotEnrolled, match="does not enroll refused: not you"):
        enroll(invitation, fetch_authority(invitation), replace(REQUEST, client_id="refused"))


def test_another_server_than_the_tokens_is_told_nothing(invitation: Invitation, desk: Desk) -> None:
    with pytest.raises(UsageError, match="is not the server of this token"):
        fetch_authority(replace(invitation, authority="0" * 64))
    assert desk.enrolled == []


def test_a_certificate_from_another_authority_is_refused(invitation: Invitation, tmp_path: Path, desk: Desk) -> None:
    other = ensure_tls(tmp_path, []).authority.read_bytes()
    with pytest.raises(UsageError, match="cannot prove that it is the server"):
        enroll(invitation, other, REQUEST)
    assert desk.enrolled == []


def test_who_slips_an_authority_of_its_own_behind_the_right_one_is_not_trusted(tls: Tls, tmp_path: Path) -> None:
    genuine, own = tls.authority.read_bytes(), ensure_tls(tmp_path / "mallory", [])
    both = tmp_path / "both.pem"
    both.write_bytes(genuine + own.authority.read_bytes())
    mallory = Desk()
    service = EnrollmentService("127.0.0.1", 0, certificate=own.certificate, key=own.key, authority=both, desk=mallory)
    invitation = Invitation(
        address="127.0.0.1:8080", enroll_port=service.port, authority=authority_digest(genuine), secret="right"
    )
    try:
        authority = fetch_authority(invitation)  # anybody can have the right certificate: it is public
        assert authority == genuine
        with pytest.raises(UsageError, match="cannot prove that it is the server"):
            enroll(invitation, authority, REQUEST)
    finally:
        service.close()
    assert mallory.enrolled == []


def test_nobody_there_is_another_matter() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(NotReached):
        fetch_authority(Invitation(address="127.0.0.1:1", enroll_port=port, authority="0" * 64, secret="x"))


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"no json", 400),
        (b"[" * 100_000, 413),
        (b"[" * 60_000, 400),
        (b"[]", 400),
        (json.dumps({**asdict(REQUEST), "more": 1}).encode(), 400),
        (json.dumps({**asdict(REQUEST), "partition_id": "1"}).encode(), 400),
        (json.dumps({**asdict(REQUEST), "own_data": 1}).encode(), 400),
        (json.dumps({**asdict(REQUEST), "input_shape": [True]}).encode(), 400),
    ],
)
def test_what_is_no_enrollment_is_refused(
    invitation: Invitation, tls: Tls, desk: Desk, body: bytes, status: int
) -> None:
    trust = ssl.create_default_context(cafile=str(tls.authority))
    connection = http.client.HTTPSConnection("127.0.0.1", invitation.enroll_port, context=trust, timeout=20)
    connection.request("POST", "/enroll", body=body, headers={"authorization": "Bearer right"})
    assert connection.getresponse().status == status
    connection.close()
    assert desk.enrolled == []


def test_who_sends_drop_by_drop_is_cut_off_and_holds_up_nobody(
    tls: Tls, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "_TIMEOUT_S", 0.5)
    service = EnrollmentService(
        "127.0.0.1", 0, certificate=tls.certificate, key=tls.key, authority=tls.authority, desk=desk
    )
    trust = ssl.create_default_context(cafile=str(tls.authority))
    try:
        with (
            socket.create_connection(("127.0.0.1", service.port), timeout=20) as plain,
            trust.wrap_socket(plain, server_hostname="127.0.0.1") as slow,
        ):
            slow.sendall(b"GET /authority HTTP/1.1\r\nx: ")
            assert any(_is_cut_off(slow) for _ in range(100))
        assert _answers(service.port, trust)
    finally:
        service.close()


def _is_cut_off(slow: ssl.SSLSocket) -> bool:
    """Send one byte more, well before a read would time out, and tell whether the server has closed."""
    slow.settimeout(0.05)
    try:
        slow.sendall(b"x")
        return slow.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def _answers(port: int, trust: ssl.SSLContext) -> bool:
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=trust, timeout=20)
    connection.request("GET", "/authority")
    status = connection.getresponse().status
    connection.close()
    return status == 200


def test_plain_text_gets_no_answer_and_holds_up_nobody(invitation: Invitation) -> None:
    with socket.create_connection(("127.0.0.1", invitation.enroll_port), timeout=20) as plain:
        plain.sendall(b"GET /authority HTTP/1.1\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            assert not plain.recv(4096).startswith(b"HTTP/1.1 200")
    assert fetch_authority(invitation)
