"""Our quick look at a cohort against Flower's."""

from __future__ import annotations

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from flwr.serverapp.exception import InconsistentMessageReplies
from flwr.serverapp.strategy.strategy_utils import aggregate_metricrecords, validate_message_reply_consistency
from hypothesis import given
from hypothesis import strategies as st

from app.strategies.cohort import mean_metrics, require_consistent

NUMBERS = st.one_of(st.integers(-(2**40), 2**40), st.floats(-1e6, 1e6))
RECORDS = st.one_of(
    st.builds(
        MetricRecord,
        st.dictionaries(
            st.sampled_from(["n", "loss"]), st.one_of(st.integers(1, 9), st.lists(st.integers(), max_size=1))
        ),
    ),
    st.builds(
        lambda names: ArrayRecord({name: ArrayRecord([np.ones(1)])["0"] for name in names}),
        st.sets(st.sampled_from("ab")),
    ),
    st.just(ConfigRecord({"n": 1})),
)
CONTENTS = st.builds(RecordDict, st.dictionaries(st.sampled_from(["x", "y"]), RECORDS, max_size=2))


@given(
    st.lists(
        st.tuples(st.integers(1, 10**9), NUMBERS, st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=2)),
        min_size=1,
        max_size=5,
    )
)
def test_metrics_average_as_flowers_do(clients: list[tuple[int, float, list[float]]]) -> None:
    contents = [
        RecordDict({"metrics": MetricRecord({"loss": loss, "n": count, "by-class": several})})
        for count, loss, several in clients
    ]

    ours, flowers = mean_metrics(contents, "n"), aggregate_metricrecords(contents, "n")

    assert list(ours.items()) == list(flowers.items())
    assert all(content["metrics"]["n"] == count for content, (count, _, _) in zip(contents, clients, strict=True))


def test_lists_of_two_lengths_have_no_mean() -> None:
    contents = [RecordDict({"metrics": MetricRecord({"n": 1, "by-class": [1.0] * length})}) for length in (1, 2)]
    with pytest.raises(ValueError, match="argument 2 is longer"):
        mean_metrics(contents, "n")


@given(st.lists(CONTENTS, min_size=1, max_size=4), st.booleans())
def test_what_flower_refuses_is_refused(contents: list[RecordDict], is_train: bool) -> None:
    assert _is_refused(require_consistent, contents, is_train=is_train) == _is_refused(
        lambda replies, key, *, is_train: validate_message_reply_consistency(replies, key, check_arrayrecord=is_train),
        contents,
        is_train=is_train,
    )


def _is_refused(check, contents, *, is_train) -> bool:  # type: ignore[no-untyped-def]
    try:
        check(contents, "n", is_train=is_train)
    except InconsistentMessageReplies:
        return True
    return False
