"""What a run would be like, before it is started: how its data would be spread, what its privacy would cost.

The partition comes from the project's own ``federate``, in a process of its own: it is the one the run will have.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TypeVar

from pydantic import ValidationError

from app.control.config_check import check_config, without_dashboards_own
from app.control.preview_worker import PreviewWorker
from app.storage.views import View
from shared.errors import PreviewFailed
from shared.plugins import FILE_SOURCES, is_plugin

V = TypeVar("V", bound=View)

MAX_CACHED = 128  # answers of some kilobytes each
# What a partition depends on; everything else leaves it as it is.
PARTITION_KEYS = (
    "dataset", "data-dir", "num-examples", "partition", "alpha", "min-partition-size", "shards-per-client",
    "num-clients", "seed",
)  # fmt: skip
EPSILON_KEYS = (
    "num_examples", "batch_size", "local_epochs", "local_steps", "num_rounds", "noise_multiplier", "target_epsilon",
    "delta",
)  # fmt: skip


class PartitionPreview(View):
    """How the training data would be spread."""

    class_names: tuple[str, ...]
    histograms: dict[str, tuple[int, ...]]  # client -> examples of each class, the first 200 clients
    num_examples: int
    num_clients: int
    smallest: int  # examples of the client with the fewest
    median: float
    largest: int


class EpsilonPreview(View):
    """What a run would spend of its privacy."""

    epsilon: float
    delta: float
    noise_multiplier: float
    accountant: str
    steps: int
    sample_rate: float
    by_round: tuple[tuple[int, float], ...]
    warning: str = ""


class Previews:
    """Answers from processes of their own, kept by what was asked."""

    def __init__(self, make_worker: Callable[[], PreviewWorker] = PreviewWorker) -> None:
        """One process a kind: an estimate that takes seconds does not hold up a slider."""
        self._partitions = make_worker()
        self._epsilons = make_worker()
        self._answers: OrderedDict[str, Mapping[str, object]] = OrderedDict()
        self._lock = threading.Lock()

    def partition(self, config: Mapping[str, object]) -> PartitionPreview:
        """Show how a run with these settings would spread its data.

        Raises:
            UsageError: The settings cannot be used, or the data cannot be loaded.
            PreviewFailed: It takes too long or too much.
        """
        settings = check_config(config).as_flat()
        dataset = str(settings["dataset"])
        if is_plugin(dataset) or dataset.partition(":")[0] in FILE_SOURCES:  # may change, and may ask for any setting
            question = {"what": "partition", "config": without_dashboards_own(settings)}
            return _as(PartitionPreview, self._partitions.ask(question, is_fresh=True))
        asked = {key: settings[key] for key in PARTITION_KEYS}
        return _as(PartitionPreview, self._cached(self._partitions, {"what": "partition", "config": asked}))

    def epsilon(self, query: Mapping[str, object]) -> EpsilonPreview:
        """Estimate the privacy that a run would spend.

        Raises:
            ConfigError: A value is missing or out of range.
            PreviewFailed: It takes too long or too much.
        """
        asked = {key: query[key] for key in EPSILON_KEYS if query.get(key) is not None}
        return _as(EpsilonPreview, self._cached(self._epsilons, {"what": "epsilon", "query": asked}))

    def tick(self) -> None:
        """End processes that nobody has asked for a while."""
        self._partitions.tick()
        self._epsilons.tick()

    def close(self) -> None:
        """End the processes."""
        self._partitions.close()
        self._epsilons.close()

    def _cached(self, worker: PreviewWorker, question: Mapping[str, object]) -> Mapping[str, object]:
        key = json.dumps(question, sort_keys=True)
        with self._lock:
            if key in self._answers:
                self._answers.move_to_end(key)
                return self._answers[key]
        answer = worker.ask(question)
        with self._lock:
            self._answers[key] = answer
            while len(self._answers) > MAX_CACHED:
                self._answers.popitem(last=False)
        return answer


def _as(kind: type[V], answer: Mapping[str, object]) -> V:
    try:
        return kind.model_validate(answer)
    except ValidationError as error:
        raise PreviewFailed("the preview's process gave an answer of another form") from error
