"""What Flower's strategies ask of a cohort's replies, at a fraction of the time: the same rules and the same numbers.

Flower builds a dictionary that is kept in step with the record for each look at it, three a reply and phase. The server
asks this between two phases, when every worker waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from flwr.app import MetricRecord, RecordDict

from app.engine.flwr_compat import validate_message_reply_consistency
from shared.records import first_of, metric_record, values_of


def require_consistent(contents: Sequence[RecordDict], weight_key: str, *, is_train: bool) -> None:
    """Check that replies can be averaged; Flower's own check looks at one of each layout.

    Raises:
        InconsistentMessageReplies: Flower's reason.
    """
    distinct = {_layout(content, weight_key): content for content in contents}
    validate_message_reply_consistency(list(distinct.values()), weight_key, check_arrayrecord=is_train)


def _layout(content: RecordDict, weight_key: str) -> tuple[tuple[object, ...], ...]:
    """Describe all that the check looks at: each record's name, kind and keys, and whether its weight is a list."""
    layout: list[tuple[object, ...]] = []
    for name, record in content.items():
        values = values_of(record)
        layout.append((name, type(record), frozenset(values), isinstance(values.get(weight_key), list)))
    return tuple(layout)


def mean_metrics(contents: list[RecordDict], weight_key: str) -> MetricRecord:
    """Average the metrics of replies that passed the check, as Flower's ``aggregate_metricrecords`` does.

    Raises:
        ValueError: Lists of one name differ in length.
    """
    metrics = [values_of(cast("MetricRecord", first_of(content, MetricRecord))) for content in contents]
    weights = [values.pop(weight_key) for values in metrics]
    total = sum(weights)
    mean: dict[str, float | list[float]] = {}
    for values, weight in zip(metrics, weights, strict=True):
        factor = weight / total
        for key, value in values.items():
            known = mean.get(key)
            if isinstance(value, list):
                scaled = [number * factor for number in value]
                mean[key] = (
                    scaled
                    if known is None
                    else [a + b for a, b in zip(cast("list[float]", known), scaled, strict=True)]
                )
            else:
                mean[key] = value * factor if known is None else cast("float", known) + value * factor
    return metric_record(mean)
