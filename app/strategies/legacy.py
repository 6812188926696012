"""Lets a legacy ``flwr.server.strategy.Strategy`` (``configure_fit``, ``aggregate_fit``) serve as a strategy of today.

Its requests are sent as the messages our ClientApp answers, its results are made of their replies. Names, which legacy
parameters do not have, are those of the global model, in its order.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from typing import cast

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.common import (
    Code,
    EvaluateIns,
    EvaluateRes,
    FitIns,
    FitRes,
    Parameters,
    Scalar,
    Status,
    ndarrays_to_parameters,
    parameters_to_ndarrays,
)
from flwr.server.client_proxy import ClientProxy
from flwr.server.strategy import Strategy as LegacyStrategy
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from app.strategies.legacy_clients import GridClientManager, NodeProxy
from shared.config import key_of
from shared.errors import RunFailed
from shared.records import NUMPY_STYPE, to_array_record

_LOG = logging.getLogger(__name__)
_OK = Status(code=Code.OK, message="")


class LegacyStrategyAdapter(Strategy):
    """A legacy strategy behind today's interface.

    Initial parameters of the legacy strategy replace the model of the first round, as they do under Flower's legacy
    server. Its central ``evaluate`` is offered as ``evaluate_centrally``.
    """

    def __init__(
        self,
        legacy: LegacyStrategy,
        *,
        weighted_by_key: str = "num-examples",
        arrayrecord_key: str = "arrays",
        configrecord_key: str = "config",
        loss_key: str = "loss",
    ) -> None:
        """Serve ``legacy``; the keys are those of the records and metrics that the ClientApp uses."""
        self.legacy = legacy
        self.weighted_by_key = weighted_by_key
        self.arrayrecord_key = arrayrecord_key
        self.configrecord_key = configrecord_key
        self.loss_key = loss_key
        # Name -> dtype of the global model's arrays, from the last request: replies have the same.
        self.model_dtypes: dict[str, str] = {}

    def summary(self) -> None:
        """Log whose strategy this is."""
        _LOG.info("legacy strategy %s", type(self.legacy).__name__)

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Ask the legacy strategy whom to train, with what."""
        self.model_dtypes = {name: array.dtype for name, array in arrays.items()}
        manager = GridClientManager(grid)
        parameters = self._to_parameters(arrays)
        if server_round == 1:
            # Legacy FedAvgM works on the initial parameters it was built with; the model is ours to make here.
            if getattr(self.legacy, "initial_parameters", parameters) is None:
                self.legacy.initial_parameters = parameters  # type: ignore[attr-defined]
            parameters = self.legacy.initialize_parameters(manager) or parameters
        requests = self.legacy.configure_fit(server_round, parameters, manager)
        return self._messages(requests, MessageType.TRAIN, server_round, config)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Hand the replies to ``aggregate_fit``."""
        results: list[tuple[ClientProxy, FitRes]] = []
        failures: list[tuple[ClientProxy, FitRes] | BaseException] = []
        for message in replies:
            problem = self._problem(message, has_arrays=True)
            if problem:
                failures.append(RunFailed(problem))
            else:
                results.append((NodeProxy(message.metadata.src_node_id), self._fit_result(message.content)))
        parameters, metrics = self.legacy.aggregate_fit(server_round, results, failures)
        model = None if parameters is None else self._to_record(parameters)
        return model, _metric_record(metrics)

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Ask the legacy strategy who evaluates."""
        self.model_dtypes = {name: array.dtype for name, array in arrays.items()}
        requests = self.legacy.configure_evaluate(server_round, self._to_parameters(arrays), GridClientManager(grid))
        return self._messages(requests, MessageType.EVALUATE, server_round, config)

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Hand the replies to ``aggregate_evaluate``; its loss becomes the metric ``loss_key``."""
        results: list[tuple[ClientProxy, EvaluateRes]] = []
        failures: list[tuple[ClientProxy, EvaluateRes] | BaseException] = []
        for message in replies:
            problem = self._problem(message, has_arrays=False)
            if problem:
                failures.append(RunFailed(problem))
            else:
                results.append((NodeProxy(message.metadata.src_node_id), self._evaluate_result(message.content)))
        loss, metrics = self.legacy.aggregate_evaluate(server_round, results, failures)
        return _metric_record(metrics if loss is None else {self.loss_key: float(loss), **metrics})

    def evaluate_centrally(self, server_round: int, arrays: ArrayRecord) -> MetricRecord | None:
        """Evaluate on the server where the legacy strategy has an ``evaluate_fn``; it fits ``Strategy.start``."""
        self.model_dtypes = {name: array.dtype for name, array in arrays.items()}
        result = self.legacy.evaluate(server_round, self._to_parameters(arrays))
        if result is None:
            return None
        loss, metrics = result
        return _metric_record({self.loss_key: float(loss), **metrics})

    def _messages(
        self,
        requests: Iterable[tuple[ClientProxy, FitIns]] | Iterable[tuple[ClientProxy, EvaluateIns]],
        message_type: str,
        server_round: int,
        config: ConfigRecord,
    ) -> list[Message]:
        # Most strategies give one parameters object to all: it is decoded once.
        records: dict[int, ArrayRecord] = {}
        messages = []
        for proxy, ins in requests:
            if id(ins.parameters) not in records:
                records[id(ins.parameters)] = self._to_record(ins.parameters)
            content = RecordDict(
                {
                    self.arrayrecord_key: records[id(ins.parameters)],
                    self.configrecord_key: _config_record(config, ins.config, server_round),
                }
            )
            messages.append(Message(content=content, message_type=message_type, dst_node_id=int(proxy.cid)))
        return messages

    def _problem(self, message: Message, *, has_arrays: bool) -> str:
        """Say why a reply cannot be used; "" when it can."""
        node = f"node {message.metadata.src_node_id}"
        if message.has_error():
            return f"{node}: {message.error.reason}"
        arrays = list(message.content.array_records.values())
        metrics = list(message.content.metric_records.values())
        if has_arrays and (len(arrays) != 1 or set(arrays[0]) != set(self.model_dtypes)):
            return f"{node}: the reply's arrays are not those of the model"
        if len(metrics) != 1 or self.weighted_by_key not in metrics[0]:
            return f"{node}: the reply has no metric {self.weighted_by_key}"
        return ""

    def _fit_result(self, content: RecordDict) -> FitRes:
        arrays = next(iter(content.array_records.values()))
        metrics, num_examples = self._metrics(content)
        return FitRes(status=_OK, parameters=self._to_parameters(arrays), num_examples=num_examples, metrics=metrics)

    def _evaluate_result(self, content: RecordDict) -> EvaluateRes:
        metrics, num_examples = self._metrics(content)
        loss = float(cast(float, metrics.pop(self.loss_key, math.nan)))
        return EvaluateRes(status=_OK, loss=loss, num_examples=num_examples, metrics=metrics)

    def _metrics(self, content: RecordDict) -> tuple[dict[str, Scalar], int]:
        """Separate the weight from the scalars; lists have no place in the legacy interface."""
        record = next(iter(content.metric_records.values()))
        scalars = {key: value for key, value in record.items() if not isinstance(value, list)}
        # A weight that verification lowered may be a fraction, which legacy arithmetic handles as well.
        num_examples = cast(int, scalars.pop(self.weighted_by_key))
        return cast(dict[str, Scalar], scalars), num_examples

    def _to_parameters(self, arrays: ArrayRecord) -> Parameters:
        ordered = [arrays[name] for name in self.model_dtypes]
        if all(array.stype == NUMPY_STYPE for array in ordered):
            return Parameters(tensors=[array.data for array in ordered], tensor_type=NUMPY_STYPE)
        return ndarrays_to_parameters([array.numpy() for array in ordered])

    def _to_record(self, parameters: Parameters) -> ArrayRecord:
        """Give legacy parameters the names and dtypes of the model: legacy FedAvg makes float64 of float32."""
        arrays = parameters_to_ndarrays(parameters)
        if len(arrays) != len(self.model_dtypes):
            raise RunFailed(
                f"legacy strategy {type(self.legacy).__name__} gave {len(arrays)} arrays for a model of "
                f"{len(self.model_dtypes)}; it must return all of the model's parameters, in order"
            )
        named = zip(self.model_dtypes.items(), arrays, strict=True)
        return to_array_record({name: array.astype(dtype, copy=False) for (name, dtype), array in named})


def _config_record(ours: ConfigRecord, theirs: Mapping[str, Scalar], server_round: int) -> ConfigRecord:
    """Join the settings; legacy FedProx says ``proximal_mu`` where the wire says ``proximal-mu``, so both are there."""
    on_wire = {key_of(key): value for key, value in theirs.items()}
    return ConfigRecord({**ours, **on_wire, **theirs, "server-round": server_round})


def _metric_record(metrics: Mapping[str, Scalar]) -> MetricRecord | None:
    """Keep the numbers: a ``MetricRecord`` holds no text."""
    record = MetricRecord()
    for key, value in metrics.items():
        if isinstance(value, int | float):
            record[key] = int(value) if isinstance(value, int) else float(value)  # numpy's are subclasses
    return record if len(record) else None
