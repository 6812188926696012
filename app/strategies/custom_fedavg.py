"""Federated averaging straight from the buffers, made to be subclassed.

McMahan et al., AISTATS 2017, algorithm 1: the mean of the clients' models, each weighted by its number of examples.
Sampling and requests are those of Flower's own ``FedAvg``, which it subclasses.

To change how clients count or how models are combined, override one method::

    class RootWeighted(CustomFedAvgStrategy):
        def weigh(self, reply):
            return super().weigh(reply) ** 0.5
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import cast

from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg

from app.engine.flwr_compat import aggregate_metricrecords
from app.strategies.cohort import mean_metrics, require_consistent
from shared.parameters import AnyArray, Arrays, weighted_mean
from shared.records import BufferArray, first_of, to_array_record


class RecordArrays(Mapping[str, AnyArray]):
    """The arrays of a Flower record, decoded when they are asked for and not kept.

    Replies of a remote client are serialised: decoding array by array keeps one array a client in memory, not all.
    """

    def __init__(self, record: ArrayRecord) -> None:
        """Look at ``record`` without copying it."""
        self._record = record

    def __getitem__(self, name: str) -> AnyArray:
        array = self._record[name]
        return array.view() if isinstance(array, BufferArray) else array.numpy()

    def __iter__(self) -> Iterator[str]:
        return iter(self._record)

    def __len__(self) -> int:
        return len(self._record)


def reply_arrays(reply: RecordDict) -> RecordArrays:
    """Return the arrays of a training reply, which holds exactly one ``ArrayRecord``."""
    return RecordArrays(cast("ArrayRecord", first_of(reply, ArrayRecord)))


def reply_weight(reply: RecordDict, key: str) -> float:
    """Return the metric ``key`` of a reply, which holds exactly one ``MetricRecord``."""
    return cast("float", cast("MetricRecord", first_of(reply, MetricRecord))[key])


class CustomFedAvgStrategy(FedAvg):
    """FedAvg with two places to change: ``weigh`` and ``combine``. Takes the arguments of Flower's ``FedAvg``.

    Unchanged, it gives the values of Flower's FedAvg bit for bit, except that a zero may change its sign and that
    arrays of whole numbers (a BatchNorm counter) stay whole numbers where Flower's become float64.
    """

    def weigh(self, reply: RecordDict) -> float:
        """Say how much a reply counts: its number of examples. At least 0; only the ratios matter."""
        return reply_weight(reply, self.weighted_by_key)

    def combine(self, server_round: int, models: Sequence[Arrays], weights: Sequence[float]) -> dict[str, AnyArray]:
        """Make the new global model from the clients' models.

        Args:
            server_round: From 1.
            models: One a client, in the order of the replies; same names, shapes and dtypes. Arrays are read-only.
            weights: As ``weigh`` gave them, in the same order.

        Returns:
            The new model, with the names, shapes and dtypes of ``models``.
        """
        del server_round
        return weighted_mean(models, weights)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Average the good replies; no good reply gives no model."""
        contents = self._contents_of(replies, is_train=True)
        if not contents:
            return None, None
        weights = [self.weigh(content) for content in contents]
        model = self.combine(server_round, [reply_arrays(content) for content in contents], weights)
        return to_array_record(model), _quick(self.train_metrics_aggr_fn)(contents, self.weighted_by_key)

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Average the metrics of the good replies; no good reply gives none."""
        del server_round
        contents = self._contents_of(replies, is_train=False)
        return _quick(self.evaluate_metrics_aggr_fn)(contents, self.weighted_by_key) if contents else None

    def _contents_of(self, replies: Iterable[Message], *, is_train: bool) -> list[RecordDict]:
        """Return what the good replies hold.

        Raises:
            InconsistentMessageReplies: They cannot be averaged.
        """
        valid, _ = self._check_and_log_replies(replies, is_train=is_train, validate=False)
        contents = [message.content for message in valid]
        if contents:
            require_consistent(contents, self.weighted_by_key, is_train=is_train)
        return contents


MetricsMean = Callable[[list[RecordDict], str], MetricRecord]


def _quick(mean: MetricsMean) -> MetricsMean:
    """Put our mean in the place of Flower's default; a function of the user's own stays."""
    return mean_metrics if mean is aggregate_metricrecords else mean
