"""Comes to a server: holds its authority against the invitation, then enrolls with this client's public keys."""

from __future__ import annotations

import http.client
import json
import ssl
from dataclasses import asdict
from email.utils import parsedate_to_datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from shared.errors import ConstellationError, UsageError
from shared.joining import EnrollAnswer, EnrollRequest, Invitation, parse

_TIMEOUT_S = 15.0
_MAX_ANSWER_BYTES = 256 * 1024


class NotReached(Exception):
    """Nobody answers at the server's address: the same may work later."""


class NotEnrolled(ConstellationError):
    """The server does not enroll this client; says why."""


def fetch_authority(invitation: Invitation) -> bytes:
    """Fetch the certificate of the server's authority and hold it against the invitation.

    The connection is not verified yet, and nothing is said over it: the digest decides.

    Raises:
        NotReached: Nobody answers.
        UsageError: Another server answers than the one that invited.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    _, _, pem = _ask(invitation, context, "GET", "/authority", None)
    try:
        authority = x509.load_pem_x509_certificate(pem)
    except ValueError:
        authority = None
    if authority is None or authority.fingerprint(hashes.SHA256()).hex() != invitation.authority:
        raise UsageError(
            f"{invitation.address} is not the server of this token: its authority is another; check --server-address, "
            "or ask for a new token"
        )
    # Never what was sent: whatever follows the first certificate was held against nothing, and would be trusted too.
    return authority.public_bytes(serialization.Encoding.PEM)


def enroll(invitation: Invitation, authority: bytes, request: EnrollRequest) -> EnrollAnswer:
    """Enroll.

    Raises:
        NotReached: Nobody answers.
        NotEnrolled: The server says no, or something else than an answer.
    """
    body = json.dumps(asdict(request)).encode()
    status, _, data = _ask(invitation, _trusting(authority), "POST", "/enroll", body)
    if status != 200:
        raise NotEnrolled(f"the server does not enroll {request.client_id}: {_error_in(data)}")
    try:
        return parse(EnrollAnswer, data)
    except ValueError as error:
        raise NotEnrolled(f"the server's answer is of another version ({error})") from error


def fetch_status(invitation: Invitation, authority: bytes) -> dict[str, object]:
    """Return what the federation is doing.

    Raises:
        NotReached: Nobody answers.
        NotEnrolled: The server says no.
    """
    status, _, data = _ask(invitation, _trusting(authority), "GET", "/status", None)
    found = _json_in(data)
    if status != 200 or found is None:
        raise NotEnrolled(f"the server does not tell: {_error_in(data)}")
    return found


def server_time(invitation: Invitation, authority: bytes) -> float | None:
    """Return the server's clock, Unix seconds to the second; None when it does not tell.

    Raises:
        NotReached: Nobody answers.
    """
    _, date, _ = _ask(invitation, _trusting(authority), "GET", "/authority", None)
    try:
        return parsedate_to_datetime(date).timestamp()
    except ValueError:
        return None


def _trusting(authority: bytes) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=authority.decode("ascii"))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _ask(
    invitation: Invitation, context: ssl.SSLContext, method: str, path: str, body: bytes | None
) -> tuple[int, str, bytes]:
    host = invitation.address.rpartition(":")[0].strip("[]")
    headers = {"content-type": "application/json"} if body is not None else {}
    if path != "/authority":
        headers["authorization"] = f"Bearer {invitation.secret}"
    connection = http.client.HTTPSConnection(host, invitation.enroll_port, timeout=_TIMEOUT_S, context=context)
    try:
        connection.request(method, path, body=body, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers.get("date", ""), answer.read(_MAX_ANSWER_BYTES)
    except ssl.SSLCertVerificationError as error:
        raise UsageError(
            f"{invitation.address} cannot prove that it is the server of this federation ({error.verify_message}); "
            "check --server-address and this machine's clock"
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise NotReached(str(error) or type(error).__name__) from error
    finally:
        connection.close()


def _json_in(data: bytes) -> dict[str, object] | None:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _error_in(data: bytes) -> str:
    return str((_json_in(data) or {}).get("error", "no reason given"))[:500]
