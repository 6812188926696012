"""Aggregation rules against cases worked by hand, against Flower's own, and against hostile updates."""

from __future__ import annotations

import numpy as np
import pytest
from flwr.serverapp.strategy.fedtrimmedavg import trim_mean
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.aggregation import AGGREGATIONS, NO_STATE, AggregationContext
from shared.aggregation.blocks import apply_blockwise, delta_blocks, delta_norms
from shared.aggregation.centers import centered_clipping, geometric_median
from shared.aggregation.coordinates import coordinate_median, trimmed_mean
from shared.aggregation.fltrust import fltrust
from shared.aggregation.krum import bulyan, krum, multikrum
from shared.aggregation.means import mean, norm_clipped_mean


def context(base, **changes):
    return AggregationContext(base=base, server_round=1, **changes)


def models(*rows, dtype=np.float64):
    return [{"w": np.array(row, dtype)} for row in rows]


def run(rule, updates, counts=None, *, base=None, **changes):
    base = base or {"w": np.zeros_like(updates[0]["w"])}
    changes = {"trusted": updates[0], **changes}  # what fltrust alone looks at
    result, state = rule(updates, counts or [1] * len(updates), context(base, **changes), NO_STATE)
    assert state == {} or rule is centered_clipping
    return result


# Distances are added up in blocks: where blocks end is in their last bits, and so in the factors of these rules.
BY_DISTANCE = {geometric_median, centered_clipping, fltrust}
COUNTING_EQUALS_ONCE = {krum, multikrum, bulyan}


def random_cohort(seed, num_clients=7):
    rng = np.random.default_rng(seed)
    shapes = {"conv": (3, 1, 2, 2), "bias": (5,), "scale": ()}
    make = lambda: {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}  # noqa: E731
    return make(), [make() for _ in range(num_clients)], rng.integers(1, 100, num_clients).tolist()


def test_mean_is_weighted_by_examples():
    # 10 + (1 * 2 + 3 * -2) / 4 = 9 and 20 + (1 * 4 + 3 * 8) / 4 = 27
    result = run(mean, models([12, 24], [8, 28]), [1, 3], base={"w": np.array([10.0, 20.0])})
    assert result.arrays["w"].tolist() == [9.0, 27.0]
    assert result.shares == (0.25, 0.75)


def test_median_takes_the_middle_of_each_coordinate():
    result = run(coordinate_median, models([1, -9], [2, 5], [900, 6]), [1, 1, 1_000_000])
    assert result.arrays["w"].tolist() == [2.0, 5.0]
    assert run(coordinate_median, models([1], [2], [4], [800])).arrays["w"].tolist() == [3.0]


def test_trimmed_mean_cuts_as_many_at_each_end_as_may_be_malicious():
    updates = models([1], [2], [3], [7], [1000])
    assert run(trimmed_mean, updates, num_malicious=1).arrays["w"].tolist() == [4.0]  # (2 + 3 + 7) / 3
    assert run(trimmed_mean, updates, num_malicious=2).arrays["w"].tolist() == [3.0]
    assert run(trimmed_mean, updates).arrays["w"].tolist() == [4.0]  # a fifth of 5 is 1


def test_trimmed_mean_becomes_the_median_when_too_few_replied():
    assert run(trimmed_mean, models([1], [2], [900]), num_malicious=5).arrays["w"].tolist() == [2.0]
    assert run(trimmed_mean, models([1], [2]), num_malicious=5).arrays["w"].tolist() == [1.5]


def test_norm_clip_shortens_to_the_median_norm():
    # Norms 5, 10, 50; the median is 10: the third becomes (6, 8). Mean of (3, 4), (6, 8), (6, 8) is (5, 20 / 3).
    result = run(norm_clipped_mean, models([3, 4], [6, 8], [30, 40]))
    assert result.arrays["w"] == pytest.approx(np.array([5.0, 20 / 3]), abs=1e-12)
    assert result.shares == pytest.approx((1 / 3, 1 / 3, 1 / 15))


def test_norm_clip_leaves_idle_clients_and_idle_cohorts_alone():
    base = {"w": np.array([1.0, 2.0])}
    result = run(norm_clipped_mean, models([1, 2], [1, 2], [9, 9]), base=base)
    assert result.arrays["w"].tolist() == [1.0, 2.0]  # the median norm is 0: nobody moves the model
    assert run(norm_clipped_mean, models([1, 2]), base=base).arrays["w"].tolist() == [1.0, 2.0]


def test_norm_is_over_all_arrays_of_floats_and_over_no_counter():
    base = {"a": np.zeros(2, np.float32), "b": np.zeros((), np.float64), "steps": np.array(0)}
    update = {"a": np.array([2, 4], np.float32), "b": np.array(4.0), "steps": np.array(10**6)}
    assert delta_norms([update, base], context(base, block_bytes=1)).tolist() == [6.0, 0.0]


@pytest.mark.parametrize("rule", AGGREGATIONS.values())
def test_counters_stay_whole_numbers(rule):
    base = {"w": np.zeros(1, np.float32), "steps": np.array(7)}
    # 10.67 and 11 by the mean and the median, 10.5 rounded to even by a mean of two
    updates = [{"w": np.full(1, w, np.float32), "steps": np.array(count)} for w, count in ((1, 10), (1.1, 11), (1, 11))]
    result = run(rule, updates, base=base)
    assert result.arrays["steps"].dtype == np.int64
    assert result.arrays["steps"] in (10, 11)


@pytest.mark.parametrize("rule", AGGREGATIONS.values())
@pytest.mark.parametrize("block_bytes", [1, 3 * 7 * 8, 10**6])  # one coordinate, three, all
def test_blocks_do_not_change_a_bit(rule, block_bytes):
    base, updates, counts = random_cohort(3)
    whole = run(rule, updates, counts, base=base, num_malicious=1)
    blocked = run(rule, updates, counts, base=base, num_malicious=1, block_bytes=block_bytes)
    for name, array in whole.arrays.items():
        assert array.dtype == base[name].dtype
        assert array.shape == base[name].shape
        if rule in BY_DISTANCE:
            assert blocked.arrays[name] == pytest.approx(array, rel=1e-6)
        else:
            assert blocked.arrays[name].tobytes() == array.tobytes()


def test_blocks_bound_memory_whatever_the_model_and_the_cohort():
    base = {"w": np.zeros(1000, np.float32)}
    blocks = [block.deltas.shape for block in delta_blocks([base] * 4, context(base, block_bytes=4 * 300 * 8 + 31))]
    assert blocks == [(4, 300), (4, 300), (4, 300), (4, 100)]


def test_trimmed_mean_and_median_equal_flowers():
    base, updates, counts = random_cohort(11, num_clients=10)
    trimmed = run(trimmed_mean, updates, counts, base=base)
    middle = run(coordinate_median, updates, counts, base=base)
    for name in base:
        stack = np.stack([update[name] for update in updates]).astype(np.float64)
        assert trimmed.arrays[name] == pytest.approx(trim_mean(stack, 0.2), rel=1e-6)
        assert middle.arrays[name] == pytest.approx(np.median(stack, axis=0), rel=1e-6)


@pytest.mark.parametrize("rule", set(AGGREGATIONS.values()) - COUNTING_EQUALS_ONCE)
def test_equal_updates_are_the_result(rule):
    base, updates, _ = random_cohort(5)
    result = run(rule, [updates[0]] * 5, base=base, num_malicious=1)
    for name, array in updates[0].items():
        assert result.arrays[name] == pytest.approx(array, rel=1e-6)


@pytest.mark.parametrize("name", ["median", "trimmed-mean", "norm-clip"])
@settings(deadline=None)
@given(seed=st.integers(0, 1000), size=st.floats(1e3, 1e30), where=st.integers(0, 4))
def test_one_hostile_update_of_five_moves_no_coordinate_past_the_honest(name, seed, size, where):
    rng = np.random.default_rng(seed)
    honest = [{"w": row} for row in rng.uniform(-1, 1, (4, 6))]
    updates = [*honest[:where], {"w": np.full(6, size)}, *honest[where:]]
    moved = run(AGGREGATIONS[name], updates, num_malicious=1).arrays["w"]
    stack = np.stack([update["w"] for update in honest])
    if name == "norm-clip":
        # Five vectors, none longer than the longest honest one.
        assert np.linalg.norm(moved) <= np.linalg.norm(stack, axis=1).max() * (1 + 1e-9)
    else:
        assert (moved >= stack.min(axis=0)).all() and (moved <= stack.max(axis=0)).all()


@pytest.mark.parametrize("rule", AGGREGATIONS.values())
@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 1000))
def test_the_order_of_clients_does_not_matter(rule, seed):
    base, updates, counts = random_cohort(seed)
    order = np.random.default_rng(seed).permutation(len(updates))
    trusted = updates[0]
    one = run(rule, updates, counts, base=base, trusted=trusted)
    other = run(rule, [updates[i] for i in order], [counts[i] for i in order], base=base, trusted=trusted)
    for name, array in one.arrays.items():
        assert other.arrays[name] == pytest.approx(array, rel=1e-5, abs=1e-6)


def test_updates_and_base_are_only_read():
    base, updates, _ = random_cohort(1)
    for arrays in (base, *updates):
        for array in arrays.values():
            array.flags.writeable = False
    for rule in AGGREGATIONS.values():
        run(rule, updates, base=base)


def test_layout_and_byte_order_of_updates_do_not_matter():
    base = {"w": np.zeros((2, 3), np.float32)}
    plain = {"w": np.arange(6, dtype=np.float32).reshape(2, 3)}
    odd = {"w": np.asfortranarray(plain["w"]).astype(">f4")}
    model = apply_blockwise([plain, odd], context(base, block_bytes=64), lambda deltas: deltas[0] - deltas[1])
    assert not model["w"].any()
