"""IDX files: read whole or refused."""

from __future__ import annotations

import contextlib
import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.datasets.idx import find_idx, read_idx
from shared.errors import DatasetError

# Two images of 2x3 pixels, written by hand after the format's description.
WHOLE = bytes([0, 0, 8, 3]) + struct.pack(">III", 2, 2, 3) + bytes(range(12))


def written(tmp_path: Path, data: bytes, name: str = "images") -> Path:
    path = tmp_path / name
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


@pytest.mark.parametrize("name", ["images", "images.gz"])
def test_an_idx_file_is_read_gunzipped_or_not(tmp_path: Path, name: str) -> None:
    found = read_idx(written(tmp_path, WHOLE, name), 3)
    assert found.dtype == np.uint8
    assert found.tolist() == [[[0, 1, 2], [3, 4, 5]], [[6, 7, 8], [9, 10, 11]]]
    assert found.flags.writeable, "torch warns about memory it may not write to"


def test_the_gunzipped_file_is_preferred(tmp_path: Path) -> None:
    zipped = written(tmp_path, WHOLE, "images.gz")
    assert find_idx(tmp_path, "images") == zipped
    plain = written(tmp_path, WHOLE)
    assert find_idx(tmp_path, "images") == plain
    assert find_idx(tmp_path, "labels") is None


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "it is cut short"),
        (WHOLE[:10], "it is cut short"),
        (WHOLE[:-1], "it is cut short"),
        (WHOLE + b"\0", "it is longer than the 12 bytes"),
        (b"\0\0\x0d\x03" + WHOLE[4:], "it is not an IDX file of bytes with 3 dimensions"),
        (b"\0\0\x08\x01" + WHOLE[4:], "it is not an IDX file of bytes with 3 dimensions"),
        (bytes([0, 0, 8, 3]) + b"\xff" * 12, "its header claims"),
    ],
)
@pytest.mark.parametrize("name", ["images", "images.gz"])
def test_a_damaged_file_is_refused_and_named(tmp_path: Path, data: bytes, reason: str, name: str) -> None:
    with pytest.raises(DatasetError, match=f"{name} is damaged .*{reason}.*delete it and fetch it again"):
        read_idx(written(tmp_path, data, name), 3)


def test_a_gzip_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(WHOLE)[:-6])
    with pytest.raises(DatasetError, match="cut short"):
        read_idx(path, 3)


def test_what_only_claims_to_be_gzip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "images.gz"
    path.write_bytes(WHOLE)
    with pytest.raises(DatasetError, match="Not a gzipped file"):
        read_idx(path, 3)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="nowhere cannot be read: No such file"):
        read_idx(tmp_path / "nowhere", 3)


@given(data=st.binary(max_size=64), flipped=st.integers(0, 60))
def test_hostile_bytes_never_raise_anything_else(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, flipped: int
) -> None:
    zipped = bytearray(gzip.compress(WHOLE))
    zipped[flipped % len(zipped)] ^= 0x55
    folder = tmp_path_factory.mktemp("idx")
    for name, body in (("a", data), ("b", WHOLE[:4] + data), ("c.gz", bytes(zipped)), ("d.gz", data)):
        path = folder / name
        path.write_bytes(body)
        with contextlib.suppress(DatasetError):
            read_idx(path, 3)
