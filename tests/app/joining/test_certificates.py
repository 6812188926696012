"""Certificates are made once, renewed in time from the same authority, and verify as OpenSSL sees it."""

from __future__ import annotations

import contextlib
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from app.joining.certificates import authority_digest, ensure_tls
from app.joining.front_door import server_context
from shared.errors import KeyStoreError


def test_files_are_made_once_and_private_keys_are_their_owners(tmp_path: Path) -> None:
    tls = ensure_tls(tmp_path / "tls", ["192.0.2.7", "fl.example.org"])
    before = {path.name: path.read_bytes() for path in (tmp_path / "tls").iterdir()}
    ensure_tls(tmp_path / "tls", ["192.0.2.7"])
    assert {path.name: path.read_bytes() for path in (tmp_path / "tls").iterdir()} == before
    assert tls.key.stat().st_mode & 0o077 == 0
    assert (tmp_path / "tls" / "ca-key.pem").stat().st_mode & 0o077 == 0


def test_an_expiring_certificate_or_a_new_name_makes_another_from_the_same_authority(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    tls = ensure_tls(tmp_path, [], now)
    authority, first = tls.authority.read_bytes(), tls.certificate.read_bytes()
    ensure_tls(tmp_path, ["fl.example.org"], now)
    second = tls.certificate.read_bytes()
    ensure_tls(tmp_path, ["fl.example.org"], now + timedelta(days=380))
    third = tls.certificate.read_bytes()
    assert len({first, second, third}) == 3
    assert tls.authority.read_bytes() == authority
    names = x509.load_pem_x509_certificate(third).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert "fl.example.org" in names.value.get_values_for_type(x509.DNSName)


def handshake(tls_folder: Path, authority: Path, name: str) -> None:
    """Shake hands in memory with a server that has the certificate; raises what OpenSSL has against it."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = server_context(tls_folder / "server.pem", tls_folder / "server-key.pem")
    server = context.wrap_bio(to_server, to_client, server_side=True)
    client = ssl.create_default_context(cafile=str(authority)).wrap_bio(to_client, to_server, server_hostname=name)
    waiting = [client, server]
    while waiting:
        for side in list(waiting):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
                waiting.remove(side)


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "192.0.2.7", "fl.example.org"])
def test_clients_that_trust_the_authority_connect_by_each_name(tmp_path: Path, name: str) -> None:
    tls = ensure_tls(tmp_path, ["192.0.2.7", "fl.example.org"])
    handshake(tmp_path, tls.authority, name)


def test_another_authority_another_name_and_an_expired_certificate_are_refused(tmp_path: Path) -> None:
    tls = ensure_tls(tmp_path / "good", [])
    other = ensure_tls(tmp_path / "other", [])
    ensure_tls(tmp_path / "old", [], datetime.now(UTC) - timedelta(days=1000))
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(tmp_path / "good", other.authority, "localhost")
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(tmp_path / "good", tls.authority, "elsewhere.example.org")
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        handshake(tmp_path / "old", tmp_path / "old" / "ca.pem", "localhost")


def test_an_authority_has_one_digest_and_something_else_none(tmp_path: Path) -> None:
    tls = ensure_tls(tmp_path, [])
    pem = tls.authority.read_bytes()
    assert authority_digest(pem) == authority_digest(pem)
    assert len(authority_digest(pem)) == 64
    with pytest.raises(ValueError):
        authority_digest(b"no certificate")


def test_a_folder_with_something_else_is_one_sentence(tmp_path: Path) -> None:
    ensure_tls(tmp_path, [])
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(KeyStoreError, match="holds what is no certificate or key"):
        ensure_tls(tmp_path, [])
