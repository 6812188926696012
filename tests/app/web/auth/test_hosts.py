from __future__ import annotations

import pytest

from app.web.auth.hosts import AllowedHosts, is_loopback_address


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "LOCALHOST:5000", "127.0.0.1:5000", "[::1]:5000", "localhost.", "192.168.1.7:5000",
        "lab.example:5000", "lab.example",
    ],
)  # fmt: skip
def test_own_names_and_addresses_are_answered(host: str) -> None:
    assert AllowedHosts(["Lab.example"]).allows(host)


@pytest.mark.parametrize(
    "host",
    [
        "", "evil.example", "evil.example:5000", "localhost.evil.example", "127.0.0.1.evil.example",
        "localhost@evil.example",
        "evil.example@localhost", "localhost/evil", "localhost:port", "[::1", "127.0.0.1:5000:1",
        "localhost?x", "localhost#x",
        "xn--localhost", "0x7f.1",
    ],
)  # fmt: skip
def test_names_that_rebinding_would_use_are_not(host: str) -> None:
    assert not AllowedHosts([]).allows(host)


@pytest.mark.parametrize(
    ("origin", "is_own"),
    [
        ("http://127.0.0.1:5000", True), ("https://127.0.0.1:5000", True), ("http://127.0.0.1:5001", False),
        ("http://localhost:5000", False), ("null", False), ("", False), ("http://evil.example", False),
        ("file://127.0.0.1:5000", False), ("http://127.0.0.1:5000@evil.example", False),
    ],
)  # fmt: skip
def test_an_origin_is_own_only_when_it_is_the_host_asked(origin: str, is_own: bool) -> None:
    assert AllowedHosts([]).is_own_origin(origin, "127.0.0.1:5000") is is_own


@pytest.mark.parametrize(
    ("address", "is_loopback"),
    [
        ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("::ffff:127.0.0.1", True), ("10.0.0.1", False),
        ("::ffff:10.0.0.1", False), ("", False), ("localhost", False),
    ],
)  # fmt: skip
def test_loopback_is_an_address_not_a_name(address: str, is_loopback: bool) -> None:
    assert is_loopback_address(address) is is_loopback
