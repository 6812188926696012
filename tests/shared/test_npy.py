"""numpy's own format from hostile bytes."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from shared.npy import read_npy
from shared.parameters import ALLOWED_DTYPES


def saved(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def with_header(header: bytes, body: bytes = b"", version: bytes = b"\1\0") -> bytes:
    return b"\x93NUMPY" + version + len(header).to_bytes(2, "little") + header + body


ARRAYS = hnp.arrays(
    dtype=st.sampled_from(sorted(ALLOWED_DTYPES)).flatmap(
        lambda name: st.sampled_from([np.dtype(name), np.dtype(name).newbyteorder(">")])
    ),
    shape=hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
)


@given(ARRAYS, st.booleans())
def test_it_reads_what_numpy_reads(array: np.ndarray, fortran: bool) -> None:
    data = saved(np.asfortranarray(array) if fortran else array)
    expected = np.load(io.BytesIO(data), allow_pickle=False)

    got = read_npy(data)

    assert (got.dtype, got.shape) == (expected.dtype, expected.shape)
    assert got.tobytes() == expected.tobytes()
    assert not got.flags.writeable or got.size == 0


@given(ARRAYS, st.integers(0, 10**6))
def test_a_truncated_array_is_refused(array: np.ndarray, cut: int) -> None:
    data = saved(array)

    with pytest.raises(ValueError):
        read_npy(data[: cut % len(data)])
    with pytest.raises(ValueError):
        read_npy(data + b"\0")


@given(ARRAYS, st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), min_size=1, max_size=4))
def test_damage_is_refused_or_read_as_numbers(array: np.ndarray, changes: list[tuple[int, int]]) -> None:
    data = bytearray(saved(array))
    for position, value in changes:
        data[position % len(data)] = value
    try:
        got = read_npy(bytes(data))
    except ValueError:
        return
    assert got.nbytes <= len(data)
    assert got.dtype.name in ALLOWED_DTYPES


@given(st.binary(max_size=300))
def test_noise_is_refused(noise: bytes) -> None:
    with pytest.raises(ValueError):
        read_npy(noise)
    with pytest.raises(ValueError):
        read_npy(b"\x93NUMPY\1\0" + noise)


@pytest.mark.parametrize(
    "array",
    [
        np.array(["text"]),
        np.array([b"text"]),
        np.zeros(2, np.complex128),
        np.zeros(2, [("a", "f4"), ("b", "i4")]),
        np.zeros(2, "datetime64[s]"),
        np.zeros(2, "V8"),
        np.zeros(2, np.longdouble),
    ],
    ids=lambda array: str(array.dtype),
)
def test_what_is_not_numbers_is_refused(array: np.ndarray) -> None:
    with pytest.raises(ValueError):
        read_npy(saved(array))


@pytest.mark.parametrize(
    "header",
    [
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (999999999999,), }\n",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999999,), }\n",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }\n",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (-1, -1,), }\n",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (1 1,), }\n",
        b"{'descr': '<f9', 'fortran_order': False, 'shape': (1,), }\n",
        b"{'descr': '<f0', 'fortran_order': False, 'shape': (1,), }\n",
        b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n",
        b"{'descr': '<f4', 'fortran_order': 1, 'shape': (1,), }\n",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (" + b"1," * 60 + b"), }\n",
        b"[" * 4000 + b"]" * 4000,
        b"__import__('os').system('true')\n",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'more': 1, }\n",
    ],
)
def test_a_hostile_header_is_refused_before_anything_is_allocated(header: bytes) -> None:
    with pytest.raises(ValueError):
        read_npy(with_header(header, b"\0" * 4))


def test_versions_that_np_save_does_not_write_for_numbers_are_refused() -> None:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }\n"

    assert read_npy(with_header(header, b"\0" * 4)).shape == (1,)
    for version in (b"\3\0", b"\0\1", b"\xff\xff"):
        with pytest.raises(ValueError):
            read_npy(with_header(header, b"\0" * 4, version))


def test_the_view_is_of_the_data_itself() -> None:
    data = saved(np.arange(1000.0))

    assert np.shares_memory(read_npy(data), np.frombuffer(data, np.uint8))
