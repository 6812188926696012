"""One root for many digests (RFC 6962, section 2.1)."""

from __future__ import annotations

import contextlib
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.crypto.merkle import root_and_paths, root_of


def leaf(digest: bytes) -> bytes:
    return hashlib.sha256(b"\0" + digest).digest()


def node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


def rfc_6962(digests: list[bytes]) -> bytes:
    """Compute the root as the RFC defines it: split at the largest power of two below the number of leaves."""
    if len(digests) == 1:
        return leaf(digests[0])
    split = 1
    while split * 2 < len(digests):
        split *= 2
    return node(rfc_6962(digests[:split]), rfc_6962(digests[split:]))


DIGESTS = [hashlib.sha256(bytes([index])).digest() for index in range(40)]


def test_one_digest_is_its_own_tree() -> None:
    assert root_and_paths(DIGESTS[:1]) == (leaf(DIGESTS[0]), [b"\0"])


def test_three_digests_by_hand() -> None:
    a, b, c = (leaf(digest) for digest in DIGESTS[:3])
    root, paths = root_and_paths(DIGESTS[:3])

    assert root == node(node(a, b), c)
    assert paths == [b"\2\1" + b + b"\1" + c, b"\2\0" + a + b"\1" + c, b"\1\0" + node(a, b)]


@pytest.mark.parametrize("count", range(1, 41))
def test_the_root_is_that_of_the_rfc_and_each_path_leads_there(count: int) -> None:
    root, paths = root_and_paths(DIGESTS[:count])

    assert root == rfc_6962(DIGESTS[:count])
    assert {root_of(digest, path) for digest, path in zip(DIGESTS, paths, strict=False)} == {root}


@given(st.integers(0, 9), st.integers(0, 9), st.integers(0, 10**6))
def test_a_path_leads_no_other_digest_there(own: int, other: int, position: int) -> None:
    root, paths = root_and_paths(DIGESTS[:10])
    if other != own:
        assert root_of(DIGESTS[other], paths[own]) != root
    damaged = bytearray(paths[own])
    damaged[position % len(damaged)] ^= 1 << position % 8
    with contextlib.suppress(ValueError):
        assert root_of(DIGESTS[own], bytes(damaged)) != root


@pytest.mark.parametrize(
    "path", [b"", b"\1", b"\0\0", b"\1" + bytes(32), b"\1\2" + bytes(32), b"\xff" + bytes(255 * 33)]
)
def test_what_is_no_path_is_refused(path: bytes) -> None:
    with pytest.raises(ValueError, match="damaged"):
        root_of(DIGESTS[0], path)


def test_a_node_does_not_pass_for_a_leaf() -> None:
    a, b = leaf(DIGESTS[0]), leaf(DIGESTS[1])
    root, _ = root_and_paths(DIGESTS[:2])

    assert leaf(a + b) != root
