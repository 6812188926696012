from __future__ import annotations

import hashlib
import struct
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from shared.parameters import (
    ALLOWED_DTYPES,
    AnyArray,
    ArraySpec,
    length_prefixed,
    model_digest,
    num_bytes,
    num_parameters,
    schema_of,
    weighted_mean,
)


def digest_by_hand(fields: list[bytes]) -> bytes:
    """Write the digest's fields down one after another, as the specification lists them."""
    return hashlib.sha256(b"".join(fields)).digest()


def independent_digest(arrays: dict[str, AnyArray]) -> bytes:
    """Compute the digest value by value with ``struct``: another way to the same bytes."""
    codes = {
        "float16": "e",
        "float32": "f",
        "float64": "d",
        "int8": "b",
        "int16": "h",
        "int32": "i",
        "int64": "q",
        "uint8": "B",
        "uint16": "H",
        "uint32": "I",
        "uint64": "Q",
        "bool": "?",
    }
    out = b"constellation/model/v1\0" + len(arrays).to_bytes(8, "big")
    for name in sorted(arrays, key=lambda name: name.encode("utf-8")):
        array = arrays[name]
        kind = array.dtype.name
        values = [array[index].item() for index in np.ndindex(array.shape)]
        raw = b"".join(struct.pack("<" + codes[kind], value) for value in values)
        for text in (name, kind):
            out += len(text.encode()).to_bytes(8, "big") + text.encode()
        for number in (array.ndim, *array.shape, len(raw)):
            out += number.to_bytes(8, "big")
        out += raw
    return hashlib.sha256(out).digest()


def model() -> dict[str, AnyArray]:
    return {
        "w": np.array([[1.5, -2.0], [0.25, 3.0]], np.float32),
        "b": np.array([1.0, 2.0], np.float64),
        "n": np.array(7, np.int64),
    }


def test_digest_of_one_array_written_out_by_hand() -> None:
    fields = [
        b"constellation/model/v1\0",
        b"\0\0\0\0\0\0\0\x01",  # one array
        b"\0\0\0\0\0\0\0\x01w",
        b"\0\0\0\0\0\0\0\x07float32",
        b"\0\0\0\0\0\0\0\x02",  # two dimensions
        b"\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02",  # (1, 2)
        b"\0\0\0\0\0\0\0\x08",  # bytes
        b"\x00\x00\x80\x3f\x00\x00\x00\xc0",  # 1.0 and -2.0, IEEE 754, little-endian
    ]
    assert model_digest({"w": np.array([[1.0, -2.0]], np.float32)}) == digest_by_hand(fields)


def test_digest_of_no_array_written_out_by_hand() -> None:
    assert model_digest({}) == digest_by_hand([b"constellation/model/v1\0", b"\0\0\0\0\0\0\0\0"])


def test_digest_of_several_arrays_equals_an_independent_one() -> None:
    assert model_digest(model()) == independent_digest(model())


any_model = st.dictionaries(
    st.text(st.characters(exclude_categories=("Cs",)), max_size=6),
    st.sampled_from(sorted(ALLOWED_DTYPES)).flatmap(
        lambda kind: hnp.arrays(np.dtype(kind), hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
    ),
    max_size=4,
)


@given(any_model)
def test_digest_of_any_model_equals_an_independent_one(arrays: dict[str, AnyArray]) -> None:
    arrays = {name: np.nan_to_num(array) for name, array in arrays.items()}  # struct does not keep a NaN's payload
    assert model_digest(arrays) == independent_digest(arrays)


@given(any_model, st.randoms(use_true_random=False))
def test_layout_and_order_do_not_matter(arrays: dict[str, AnyArray], random: Random) -> None:
    names = list(arrays)
    random.shuffle(names)
    same = {name: np.asfortranarray(arrays[name].astype(arrays[name].dtype.newbyteorder(">"))) for name in names}
    same = {name: array.reshape(arrays[name].shape) for name, array in same.items()}
    assert model_digest(same) == model_digest(arrays)


def test_a_strided_view_has_the_digest_of_its_values() -> None:
    wide = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert model_digest({"w": wide[:, ::2]}) == model_digest({"w": np.array([[0, 2], [4, 6], [8, 10]], np.float32)})


def changes() -> list[dict[str, AnyArray]]:
    one_ulp = model()
    one_ulp["w"][1, 1] = np.nextafter(np.float32(3.0), np.float32(4.0))
    swapped = model()
    swapped["w"][0] = swapped["w"][0, ::-1]
    return [
        one_ulp,
        swapped,
        {**model(), "w": model()["w"].reshape(4)},
        {**model(), "w": model()["w"].reshape(4, 1)},
        {**model(), "w": model()["w"].T},
        {**model(), "w": model()["w"].astype(np.float64)},
        {**model(), "w": model()["w"].view(np.int32)},
        {**model(), "n": np.array([7], np.int64)},
        {**model(), "n": np.array(7, np.uint64)},
        {**model(), "w": -model()["w"]},
        {("v" if name == "w" else name): array for name, array in model().items()},
        {name: array for name, array in model().items() if name != "b"},
        {**model(), "empty": np.zeros(0, np.float32)},
        {**model(), "empty": np.zeros((0, 2), np.float32)},
        {**model(), "empty": np.zeros((2, 0), np.float32)},
    ]


def test_every_change_changes_the_digest() -> None:
    digests = [model_digest(model()), *(model_digest(changed) for changed in changes())]
    assert len(set(digests)) == len(digests)


def test_zero_and_minus_zero_differ() -> None:
    assert model_digest({"x": np.array([0.0])}) != model_digest({"x": np.array([-0.0])})


def test_moving_bytes_between_neighbours_changes_the_digest() -> None:
    """What a hash over joined fields without lengths would not see."""
    split = {"a": np.array([1], np.uint8), "b": np.array([2, 3], np.uint8)}
    moved = {"a": np.array([1, 2], np.uint8), "b": np.array([3], np.uint8)}
    assert model_digest(split) != model_digest(moved)
    assert model_digest({"ab": np.zeros(1), "c": np.zeros(1)}) != model_digest({"a": np.zeros(1), "bc": np.zeros(1)})


@pytest.mark.parametrize("dtype", ["O", "U3", "S3", "complex64", "M8[s]", "V4", "f4,i4"])
def test_digest_refuses_what_a_model_may_not_hold(dtype: str) -> None:
    with pytest.raises(ValueError, match=r"array 'x' has dtype .* which models may not have"):
        model_digest({"x": np.zeros(2, np.dtype(dtype))})


def test_length_prefix_is_eight_big_endian_bytes() -> None:
    assert length_prefixed(b"abc") == b"\0\0\0\0\0\0\0\x03abc"
    assert length_prefixed(b"") == bytes(8)


def test_schema_and_sizes_by_hand() -> None:
    assert schema_of(model()) == {
        "w": ArraySpec(shape=(2, 2), dtype="float32"),
        "b": ArraySpec(shape=(2,), dtype="float64"),
        "n": ArraySpec(shape=(), dtype="int64"),
    }
    assert [spec.num_bytes for spec in schema_of(model()).values()] == [16, 16, 8]
    assert num_parameters(model()) == 7
    assert num_bytes(model()) == 40


def test_claimed_size_does_not_wrap_around() -> None:
    assert ArraySpec(shape=(2**40, 2**40), dtype="uint8").num_bytes == 2**80
    assert ArraySpec(shape=(0, 2**40), dtype="float32").num_bytes == 0


def test_schema_does_not_see_byte_order() -> None:
    assert schema_of({"w": np.zeros(2, ">f4")}) == schema_of({"w": np.zeros(2, "<f4")})


def test_weighted_mean_by_hand() -> None:
    models = [{"w": np.array([1.0, 10.0], np.float32)}, {"w": np.array([5.0, 30.0], np.float32)}]
    mean = weighted_mean(models, [3, 1])
    assert mean["w"].tolist() == [2.0, 15.0]  # (3 * 1 + 5) / 4 and (3 * 10 + 30) / 4
    assert mean["w"].dtype == np.float32


def test_weighted_mean_of_counters_is_rounded_to_whole_numbers() -> None:
    mean = weighted_mean([{"n": np.array(3, np.int64)}, {"n": np.array(6, np.int64)}], [1, 2])
    assert mean["n"].item() == 5
    assert mean["n"].dtype == np.int64
    assert mean["n"].shape == ()


@pytest.mark.parametrize("kind", sorted(ALLOWED_DTYPES))
def test_mean_of_one_model_is_that_model_in_its_dtype(kind: str) -> None:
    array = np.array([[0, 1], [1, 1]]).astype(kind)
    mean = weighted_mean([{"x": array}], [8])["x"]
    assert mean.dtype == array.dtype
    assert (mean == array).all()
    assert not np.shares_memory(mean, array)


def test_weight_zero_leaves_a_model_out() -> None:
    mean = weighted_mean([{"w": np.array([1.0])}, {"w": np.array([9.0])}], [1, 0])
    assert mean["w"].tolist() == [1.0]


def test_mean_leaves_the_models_as_they_are() -> None:
    models = [{"w": np.array([1.0, 2.0])}, {"w": np.array([3.0, 4.0])}]
    for entry in models:
        entry["w"].flags.writeable = False
    assert weighted_mean(models, [1, 1])["w"].tolist() == [2.0, 3.0]


def test_as_many_weights_as_models() -> None:
    with pytest.raises(ValueError, match=r"shorter|longer"):
        weighted_mean([{"w": np.zeros(1)}], [1, 2])


@given(
    st.lists(st.tuples(st.integers(-1000, 1000), st.integers(1, 100)), min_size=1, max_size=6),
    st.randoms(use_true_random=False),
)
def test_mean_is_order_free_and_within_its_inputs(pairs: list[tuple[int, int]], random: Random) -> None:
    def mean_of(chosen: list[tuple[int, int]]) -> float:
        models = [{"w": np.array([value], np.float64)} for value, _ in chosen]
        return float(weighted_mean(models, [weight for _, weight in chosen])["w"][0])

    shuffled = list(pairs)
    random.shuffle(shuffled)
    values = [value for value, _ in pairs]
    assert mean_of(shuffled) == pytest.approx(mean_of(pairs), abs=1e-9)
    assert min(values) - 1e-9 <= mean_of(pairs) <= max(values) + 1e-9
