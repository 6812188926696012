"""The server's TLS certificate and the authority it comes from, made on first start.

The authority is this federation's own: clients are told its digest in their invitation and trust nobody else. A
certificate that is about to expire, or does not name an address the server is reached by, is made anew from the same
authority, so that clients go on trusting it.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from app.engine.federation import Tls
from shared.errors import KeyStoreError

_AUTHORITY_DAYS = 3650
_SERVER_DAYS = 397  # what clients of the public web take at most
_RENEW_DAYS = 30  # before the end
_CLOCK_SLACK = timedelta(hours=1)  # a client's clock may be behind ours


def ensure_tls(folder: Path, hosts: Sequence[str], now: datetime | None = None) -> Tls:
    """Return the certificate in ``folder``; what is missing, expiring or not for these hosts is made.

    Args:
        folder: Of the files; private keys are readable by their owner only.
        hosts: Names and addresses that clients reach the server by, besides those of this machine.
        now: The time.

    Raises:
        KeyStoreError: The folder cannot be written, or holds something else.
    """
    now = now or datetime.now(UTC)
    tls = Tls(certificate=folder / "server.pem", key=folder / "server-key.pem", authority=folder / "ca.pem")
    authority_key_file = folder / "ca-key.pem"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not tls.authority.exists() or not authority_key_file.exists():
            _make_authority(tls.authority, authority_key_file, now)
        authority = x509.load_pem_x509_certificate(tls.authority.read_bytes())
        authority_key = _load_key(authority_key_file)
        names = _names(hosts)
        if not tls.key.exists() or not _is_good(tls.certificate, names, now):
            _make_server(tls, authority, authority_key, names, now)
    except OSError as error:
        raise KeyStoreError(f"TLS folder {folder} cannot be used: {error.strerror or error}; name another") from error
    except ValueError as error:
        raise KeyStoreError(f"TLS folder {folder} holds what is no certificate or key: {error}") from error
    return tls


def authority_digest(pem: bytes) -> str:
    """Return the hex SHA-256 of a certificate: what an invitation names an authority by.

    Raises:
        ValueError: It is no certificate.
    """
    return x509.load_pem_x509_certificate(pem).fingerprint(hashes.SHA256()).hex()


def _names(hosts: Sequence[str]) -> list[x509.GeneralName]:
    """Return what the certificate is for: loopback, this machine's name, and the given hosts."""
    wanted = dict.fromkeys(["localhost", "127.0.0.1", "::1", socket.gethostname(), *_addresses(), *hosts])
    names: list[x509.GeneralName] = []
    for host in wanted:
        if host in ("", "0.0.0.0", "::"):  # noqa: S104 - listened on, and nobody's name
            continue
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    return names


def _addresses() -> list[str]:
    """Return this machine's addresses, as far as they are known."""
    import psutil

    families = (socket.AF_INET, socket.AF_INET6)
    found = [
        entry.address for entries in psutil.net_if_addrs().values() for entry in entries if entry.family in families
    ]
    return [address for address in found if "%" not in address]  # link-local ones are no names


def _is_good(path: Path, names: Sequence[x509.GeneralName], now: datetime) -> bool:
    if not path.exists():
        return False
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    known = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return set(names) <= set(known) and now + timedelta(days=_RENEW_DAYS) < certificate.not_valid_after_utc


def _make_authority(path: Path, key_file: Path, now: datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "constellation federation")])
    certificate = (
        _builder(name, name, key.public_key(), now, _AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    _write(key_file, _key_pem(key), private=True)
    _write(path, certificate.public_bytes(serialization.Encoding.PEM), private=False)


def _make_server(
    tls: Tls,
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    names: Sequence[x509.GeneralName],
    now: datetime,
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "constellation server")])
    certificate = (
        _builder(subject, authority.subject, key.public_key(), now, _SERVER_DAYS)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    _write(tls.key, _key_pem(key), private=True)
    _write(tls.certificate, certificate.public_bytes(serialization.Encoding.PEM), private=False)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SLACK)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{path} is not of an elliptic curve")
    return key


def _write(path: Path, data: bytes, *, private: bool) -> None:
    fresh = path.with_name(f".{path.name}-{os.getpid()}")
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600 if private else 0o644), "wb") as file:
        file.write(data)
    fresh.replace(path)
