"""Signatures by themselves: headers to the field, requests by one signature, updates by their own."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from shared.crypto.signing import (
    ALGORITHM,
    PROTOCOL_VERSION,
    RequestHeader,
    UpdateHeader,
    parse_update,
    sign_requests,
    sign_update,
    verify_request,
    verify_update,
)
from shared.errors import RequestRefused, UpdateRejected
from shared.reasons import Reason

KEY = rsa.generate_private_key(65537, 2048)
OTHER_KEY = rsa.generate_private_key(65537, 2048)
BASE, UPDATED = b"b" * 32, b"u" * 32
CONFIG = {"6:config": "ConfigRecord", "6:config:server-round": 3}
REQUEST = RequestHeader(
    protocol_version=PROTOCOL_VERSION,
    run_id="run-1",
    attempt=1,
    server_round=3,
    phase="train",
    message_type="train",
    nonce=b"n" * 16,
    node_id=str(2**64 - 1),
    key_id="k",
    algorithm=ALGORITHM,
    base_digest=BASE,
    issued_at=1.5,
)
UPDATE = UpdateHeader(
    protocol_version=PROTOCOL_VERSION,
    run_id="run-1",
    attempt=1,
    server_round=3,
    phase="train",
    nonce=b"n" * 16,
    client_id="client-0",
    node_id=str(2**64 - 1),
    key_id="k",
    algorithm=ALGORITHM,
    base_digest=BASE,
    issued_at=1.5,
    codec="raw",
)


def test_an_update_is_read_back_and_verified() -> None:
    record = sign_update(KEY, UPDATE, CONFIG, UPDATED)
    header, signature = parse_update(record)

    assert header == UPDATE
    verify_update(KEY.public_key(), header, signature, CONFIG, UPDATED)


@pytest.mark.parametrize(
    ("scalars", "digest", "key"),
    [({}, UPDATED, KEY), (CONFIG, BASE, KEY), (CONFIG, UPDATED, OTHER_KEY)],
    ids=["other metrics", "other arrays", "other key"],
)
def test_a_signature_is_of_one_content_and_one_key(
    scalars: dict[str, int], digest: bytes, key: rsa.RSAPrivateKey
) -> None:
    header, signature = parse_update(sign_update(KEY, UPDATE, CONFIG, UPDATED))

    with pytest.raises(UpdateRejected) as caught:
        verify_update(key.public_key(), header, signature, scalars, digest)
    assert caught.value.reason == Reason.BAD_SIGNATURE


@pytest.mark.parametrize(
    "change",
    [
        {"run_id": "x"},
        {"attempt": 2},
        {"server_round": 4},
        {"phase": "evaluate"},
        {"nonce": b"m" * 16},
        {"client_id": "client-1"},
        {"node_id": "1"},
        {"key_id": "l"},
        {"base_digest": UPDATED},
        {"issued_at": 2.5},
        {"codec": "zip"},
        {"protocol_version": 2},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_field_of_the_header_is_signed(change: dict[str, object]) -> None:
    _, signature = parse_update(sign_update(KEY, UPDATE, CONFIG, UPDATED))

    with pytest.raises(UpdateRejected) as caught:
        verify_update(KEY.public_key(), replace(UPDATE, **change), signature, CONFIG, UPDATED)  # type: ignore[arg-type]
    assert caught.value.reason == Reason.BAD_SIGNATURE


def test_the_algorithm_is_the_keys_and_not_the_messages() -> None:
    header = replace(UPDATE, algorithm="RSA-PKCS1v15-SHA1")
    record = sign_update(KEY, header, CONFIG, UPDATED)  # validly signed, all the same

    with pytest.raises(UpdateRejected) as caught:
        verify_update(KEY.public_key(), *parse_update(record), CONFIG, UPDATED)
    assert caught.value.reason == Reason.ALGORITHM


def test_another_protocol_version_is_refused_by_naming_both() -> None:
    # It may have other fields: the version is looked at first.
    with pytest.raises(UpdateRejected, match="protocol 7, this server 1") as caught:
        parse_update({"protocol-version": 7, "whatever": 1})
    assert caught.value.reason == Reason.PROTOCOL_VERSION
    with pytest.raises(RequestRefused, match="protocol 7, this client 1"):
        verify_request(KEY.public_key(), {"protocol-version": 7}, {}, BASE)


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_all_requests_of_a_phase_are_verified_by_one_signature(count: int) -> None:
    headers = [replace(REQUEST, node_id=str(index), nonce=bytes([index]) * 16) for index in range(count)]
    records = sign_requests(KEY, [(header, CONFIG) for header in headers])

    assert len({record["signature"] for record in records}) == 1
    for header, record in zip(headers, records, strict=True):
        assert verify_request(KEY.public_key(), record, CONFIG, BASE) == header


def test_no_requests_need_no_signature() -> None:
    assert sign_requests(KEY, []) == []


def test_a_request_cannot_be_passed_on_as_anothers() -> None:
    headers = [replace(REQUEST, node_id=str(index)) for index in range(3)]
    records = sign_requests(KEY, [(header, CONFIG) for header in headers])

    with pytest.raises(RequestRefused, match="not signed by the server"):
        verify_request(KEY.public_key(), {**records[0], "node-id": "1"}, CONFIG, BASE)
    with pytest.raises(RequestRefused, match="not signed by the server"):
        verify_request(KEY.public_key(), {**records[0], "path": records[1]["path"]}, CONFIG, BASE)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"nonce": b"m" * 16}, "not signed by the server"),
        ({"server-round": 4}, "not signed by the server"),
        ({"phase": "evaluate"}, "not signed by the server"),
        ({"message-type": "query"}, "not signed by the server"),
        ({"run-id": "x"}, "not signed by the server"),
        ({"issued-at": 0.0}, "not signed by the server"),
        ({"base-digest": UPDATED}, "not the one the server signed"),
        ({"signature": b""}, "not signed by the server"),
        ({"algorithm": "none"}, "algorithm"),
        ({"path": b"\5"}, "damaged"),
        ({"attempt": "1"}, "attempt must be int"),
        ({"extra": 1}, "extra"),
    ],
)
def test_a_changed_request_is_refused(change: dict[str, object], says: str) -> None:
    (record,) = sign_requests(KEY, [(REQUEST, CONFIG)])

    with pytest.raises(RequestRefused, match=says):
        verify_request(KEY.public_key(), {**record, **change}, CONFIG, BASE)


def test_the_model_and_the_settings_of_a_request_are_signed() -> None:
    (record,) = sign_requests(KEY, [(REQUEST, CONFIG)])

    with pytest.raises(RequestRefused, match="changed on the way"):
        verify_request(KEY.public_key(), record, CONFIG, UPDATED)
    with pytest.raises(RequestRefused, match="not signed by the server"):
        verify_request(KEY.public_key(), record, {**CONFIG, "6:config:learning-rate": 9.0}, BASE)


def test_a_request_signature_is_no_update_signature() -> None:
    # The tags keep them apart: what the server signs as a request can never be shown as a client's update.
    (record,) = sign_requests(KEY, [(REQUEST, CONFIG)])

    with pytest.raises(UpdateRejected):
        verify_update(KEY.public_key(), UPDATE, record["signature"], CONFIG, BASE)  # type: ignore[arg-type]
