"""Krum, Multi-Krum, Bulyan, RFA, centered clipping and FLTrust: by hand, against Flower's, against hostile updates."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from flwr.app import MetricRecord, RecordDict
from flwr.serverapp.strategy.bulyan import aggregate_n_closest_weights
from flwr.serverapp.strategy.multikrum import select_multikrum
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.aggregation import AGGREGATIONS, NO_STATE, UPDATES_NEEDED, AggregationContext
from shared.aggregation.centers import centered_clipping, geometric_median
from shared.aggregation.coordinates import mean_around_median
from shared.aggregation.distances import distances_to, distinct, gram_matrix, squared_distances
from shared.aggregation.fltrust import fltrust
from shared.aggregation.krum import bulyan, krum, multikrum
from shared.records import to_array_record


def models(*rows):
    return [{"w": np.array(row, np.float64)} for row in rows]


def run(rule, updates, state=NO_STATE, *, base=None, **changes):
    base = base or {"w": np.zeros_like(updates[0]["w"])}
    context = AggregationContext(base=base, server_round=1, **changes)
    return rule(updates, [1] * len(updates), context, state)


def weights_of(rule, updates, **changes):
    result, _ = run(rule, updates, **changes)
    return None if result is None else result.arrays["w"].tolist()


def records(updates):
    return [
        RecordDict({"arrays": to_array_record(update), "metrics": MetricRecord({"num-examples": 1})})
        for update in updates
    ]


# Krum


def test_krum_takes_the_update_whose_neighbours_are_nearest():
    # f = 1, n = 5: the 2 nearest count. Scores: 0 -> 1+4, 1 -> 1+1, 2 -> 1+4 (to 1 and 0), 9 -> 49+64, 100 -> ...
    assert weights_of(krum, models([0], [1], [2], [9], [100]), num_malicious=1) == [1.0]


def test_multikrum_averages_the_n_minus_f_minus_2_best():
    # n = 5, f = 1: two are averaged. Scores: 0 -> 1+4 = 5, 1 -> 1+1 = 2, 2.1 -> 1.21+4.41 = 5.62: 1 and 0.
    assert weights_of(multikrum, models([0], [1], [2.1], [9], [100]), num_malicious=1) == [0.5]


def test_two_equal_liars_do_not_win_at_five_of_which_two_lie():
    honest = models([0.0, 1.0], [1.0, 0.0], [0.9, 0.8])
    liars = models([50.0, 50.0], [50.0, 50.0])
    assert weights_of(krum, honest + liars, num_malicious=2) is None  # 4 distinct updates, 1 of them hostile: 5 needed
    chosen = weights_of(krum, honest + liars, num_malicious=0)
    assert chosen in [update["w"].tolist() for update in honest]


@pytest.mark.parametrize(("name", "malicious", "least"), [("krum", 2, 7), ("multikrum", 3, 9), ("bulyan", 1, 7)])
def test_too_few_distinct_updates_give_no_result(name, malicious, least):
    assert UPDATES_NEEDED[name](malicious) == least
    updates = models(*np.random.default_rng(0).normal(size=(least, 3)))
    assert weights_of(AGGREGATIONS[name], updates, num_malicious=malicious) is not None
    assert weights_of(AGGREGATIONS[name], updates[1:], num_malicious=malicious) is None


@pytest.mark.parametrize(("name", "rest"), [("krum", 5), ("multikrum", 5), ("bulyan", 7)])
def test_colluders_that_send_the_same_cannot_stop_the_round(name, rest):
    honest = models(*np.random.default_rng(0).normal(size=(rest - 1, 3)))
    same = models([9.0, 9.0, 9.0], [9.0, 9.0, 9.0], [9.0, 9.0, 9.0])
    # Two copies are left out: of the rest one may be hostile, for which 2 + 3, or 4 + 3, are enough.
    assert np.linalg.norm(weights_of(AGGREGATIONS[name], same + honest, num_malicious=3)) < 5
    assert weights_of(AGGREGATIONS[name], same + honest[1:], num_malicious=3) is None


def test_multikrum_chooses_as_flowers_does():
    updates = [{"w": row} for row in np.random.default_rng(3).normal(size=(11, 40)).astype(np.float32)]
    chosen = select_multikrum(records(updates), num_malicious_nodes=3, num_nodes_to_select=6)
    expected = np.mean([content["arrays"]["w"].numpy() for content in chosen], axis=0)
    result, _ = run(multikrum, updates, num_malicious=3)
    assert result.arrays["w"] == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert sum(result.shares) == pytest.approx(1)
    assert sorted(result.shares) == [0] * 5 + [1 / 6] * 6


# Bulyan


def test_mean_around_the_median_by_hand():
    # Sorted 0 1 3 4 90; the median is 3; the 3 nearest are 1 (2 away), 3 and 4.
    assert mean_around_median(np.array([[90.0], [0], [3], [1], [4]]), 3).tolist() == [8 / 3]
    # Of 0 and 2, as far from 1, the lower one is taken.
    assert mean_around_median(np.array([[0.0], [1], [2]]), 2).tolist() == [0.5]


@given(seed=st.integers(0, 10_000), num_rows=st.integers(1, 9), data=st.data())
@settings(deadline=None)
def test_mean_around_the_median_equals_flowers(seed, num_rows, data):
    rows = np.random.default_rng(seed).normal(size=(num_rows, 5))
    num_kept = data.draw(st.integers(1, num_rows))
    expected = aggregate_n_closest_weights([np.median(rows, axis=0)], [[row] for row in rows], num_kept)[0]
    if num_kept % 2 == num_rows % 2:  # else two values can be as near, and Flower takes either
        assert mean_around_median(rows, num_kept) == pytest.approx(expected)


def test_bulyan_by_hand():
    # f = 1, n = 7. Krum takes 5 in turn (4 nearest, then 3, 2, 1, 1): the two far ones are left. Of 0 1 2 3 4 the
    # median is 2, and the n - 4f = 3 nearest are 1 2 3.
    assert weights_of(bulyan, models([0], [1], [2], [3], [4], [500], [-900]), num_malicious=1) == [2.0]


# Geometric median


def test_geometric_median_of_a_triangle_is_its_fermat_point():
    # Equilateral: the centroid. Obtuse over 120 degrees: the corner itself.
    corners = models([0, 0], [1, 0], [0.5, math.sqrt(3) / 2])
    assert weights_of(geometric_median, corners) == pytest.approx([0.5, math.sqrt(3) / 6], abs=1e-4)
    obtuse = models([-10, 1], [0, 0], [10, 1])
    assert weights_of(geometric_median, obtuse) == pytest.approx([0, 0], abs=2e-2)


def test_geometric_median_has_the_least_sum_of_distances():
    points = np.random.default_rng(5).normal(size=(9, 4))
    found = np.array(weights_of(geometric_median, models(*points)))
    cost = lambda point: np.linalg.norm(points - point, axis=1).sum()  # noqa: E731
    for axis, step in itertools.product(range(4), (-1e-3, 1e-3)):
        moved = found.copy()
        moved[axis] += step
        assert cost(found) <= cost(moved)


@pytest.mark.parametrize("length", [1e12, 1e25, 1e36])
def test_geometric_median_is_not_moved_by_how_far_away_one_liar_stands(length):
    near = np.random.default_rng(5).normal(1, 0.1, (9, 50))
    liar = np.full((1, 50), length)
    honest = np.array(weights_of(geometric_median, models(*near)))
    found = np.array(weights_of(geometric_median, models(*near, *liar)))
    assert np.linalg.norm(found - honest) < 0.5  # the honest ones stand 0.7 from their middle


# Centered clipping


def test_centered_clipping_by_hand():
    # Around 0 the distances are 1, 2, 9: the radius is 2. Pulls 1, 2, 2 make 5/3. Around 5/3: distances 2/3, 1/3, 22/3,
    # radius 2/3, pulls -2/3 + 1/3 + 2/3 make 5/3 + 1/9 = 16/9. Around 16/9: 7/9, 2/9, 65/9, radius 7/9:
    # (-7/9 + 2/9 + 7/9) / 3 = 2/27.
    result, state = run(centered_clipping, models([1], [2], [9]))
    assert result.arrays["w"] == pytest.approx([16 / 9 + 2 / 27])
    assert state["center/w"] == pytest.approx([16 / 9 + 2 / 27])


def test_centered_clipping_starts_where_the_last_round_went():
    _, state = run(centered_clipping, models([4], [4], [4]))
    assert state["center/w"] == pytest.approx([4])
    far, _ = run(centered_clipping, models([4], [4], [1e9]), state)
    assert far.arrays["w"] == pytest.approx([4])  # the median distance to the center is 0
    other_model, _ = run(centered_clipping, [{"w": np.ones((2, 1))}] * 3, state, base={"w": np.zeros((2, 1))})
    assert other_model.arrays["w"].ravel() == pytest.approx([1, 1])


# FLTrust


def test_fltrust_by_hand():
    # Trusted (3, 4), length 5. Cosines: (5, 0) 0.6; (0, 20) 0.8; (-1, 0) clipped to 0. At length 5: (5, 0) and (0, 5).
    # (0.6 (5, 0) + 0.8 (0, 5)) / 1.4
    updates = models([5, 0], [0, 20], [-1, 0])
    trusted = {"w": np.array([3.0, 4.0])}
    assert weights_of(fltrust, updates, trusted=trusted) == pytest.approx([3 / 1.4, 4 / 1.4])


def test_fltrust_keeps_the_old_model_when_nobody_agrees_or_nothing_is_trusted():
    assert weights_of(fltrust, models([-1, 0], [0, 0]), trusted={"w": np.array([1.0, 0.0])}) is None
    assert weights_of(fltrust, models([1, 0]), trusted={"w": np.zeros(2)}) is None
    assert weights_of(fltrust, models([1, 0])) is None


# Distances


@given(seed=st.integers(0, 10_000), scale=st.sampled_from([1e-30, 1.0, 1e12]))
@settings(deadline=None, max_examples=50)
def test_distances_equal_those_computed_one_by_one(seed, scale):
    rows = np.random.default_rng(seed).normal(size=(6, 300)) * scale
    context = AggregationContext(base={"w": np.zeros(300)}, server_round=1, block_bytes=6 * 8 * 100)
    gram = gram_matrix([{"w": row} for row in rows], context)
    exact = [[math.fsum(float(x) * float(y) for x, y in zip(a, b, strict=True)) for b in rows] for a in rows]
    assert gram == pytest.approx(np.array(exact), rel=1e-7, abs=1e-8 * scale**2 * 300)
    squared = [[math.fsum((float(x) - float(y)) ** 2 for x, y in zip(a, b, strict=True)) for b in rows] for a in rows]
    assert squared_distances(gram) == pytest.approx(np.array(squared), rel=1e-7)
    middle = distances_to(gram, [1 / 6] * 6)
    assert middle == pytest.approx(np.linalg.norm(rows - rows.mean(axis=0), axis=1), rel=1e-6)


def test_inner_products_do_not_depend_on_the_order_of_additions():
    # What another machine's matrix product may do: add in another order.
    rows = np.random.default_rng(7).normal(size=(5, 4000))
    shuffled = rows[:, np.random.default_rng(8).permutation(4000)]
    context = AggregationContext(base={"w": np.zeros(4000)}, server_round=1)
    one, other = (gram_matrix([{"w": row} for row in block], context) for block in (rows, shuffled))
    assert one.tobytes() == other.tobytes()


def test_distinct_keeps_the_first_of_equal_updates():
    assert distinct(models([1.0], [2.0], [1.0], [-0.0], [0.0])) == [0, 1, 3, 4]


@pytest.mark.parametrize("name", ["krum", "multikrum", "bulyan", "geometric-median", "centered-clipping", "fltrust"])
@pytest.mark.parametrize("size", [1e5, 1e160, 1e300, 5e-324])
@pytest.mark.filterwarnings("error")
def test_a_hostile_size_ends_no_round_and_moves_no_model_far(name, size):
    honest = np.random.default_rng(1).uniform(-1, 1, (8, 6))
    updates = models(*honest, np.full(6, size), np.full(6, -size))
    result, _ = run(AGGREGATIONS[name], updates, num_malicious=1, trusted={"w": honest.mean(axis=0)})
    assert np.isfinite(result.arrays["w"]).all()
    assert np.linalg.norm(result.arrays["w"]) < 4 * np.linalg.norm(honest, axis=1).max()
