"""What one reply can be put to by itself: does it answer what was asked, and can its values be used?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from flwr.app import ArrayRecord, MetricRecord, RecordDict

from shared.crypto.signing import RAW_CODEC, UpdateHeader
from shared.errors import UpdateRejected
from shared.parameters import AnyArray, Arrays, ArraySpec, dtype_name
from shared.reasons import Reason
from shared.records import read_array

TRAIN, EVALUATE = "train", "evaluate"
ONLY_RECORD = ""  # in a schema: the one array record of a reply, whatever its name
_MAX_INT = 2**63 - 1  # what Flower's records carry on the wire
_DOT_VALUES = 8192  # of one dot product
_MAX_LIST = 100_000  # numbers in one metric: a client must not fill the server's memory through its metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedArrays:
    """What one array record of a reply must hold."""

    specs: Mapping[str, ArraySpec] | None  # None: any arrays, as long as they are finite
    is_update: bool = False  # it is a changed global model: the norm of the change is measured


class ReplySchema(Protocol):
    """Which array records the replies to a strategy hold."""

    def expected(self, phase: str, model: Mapping[str, ArraySpec]) -> Mapping[str, ExpectedArrays]:
        """Return the array records of a phase's replies by name, for a global model of these arrays."""


class WholeModel:
    """The schema of most strategies: training answers with one record like the global model, evaluation with none."""

    def expected(self, phase: str, model: Mapping[str, ArraySpec]) -> Mapping[str, ExpectedArrays]:
        """Return the array records of a phase's replies by name."""
        return {ONLY_RECORD: ExpectedArrays(specs=model, is_update=True)} if phase == TRAIN else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class SentRequest:
    """What one node was asked."""

    nonce: bytes
    base_digest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenPhase:
    """The requests of one phase, and who has answered.

    Uniqueness is (run, attempt, round, client, phase): this object stands for all but the client. Nonces and ``seen``
    end with the process; the attempt is on disk, so a reply from before a restart is refused as of an earlier attempt.
    """

    run_id: str
    attempt: int
    server_round: int
    phase: str
    requests: Mapping[int, SentRequest]  # by node id
    model: Arrays  # the global model
    expected: Mapping[str, ExpectedArrays]
    seen: set[str] = field(default_factory=set)  # clients whose signed reply was counted, good or not


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """What a reply holds, decoded and in range."""

    arrays: Mapping[str, Arrays]  # by record
    norm: float | None  # L2 norm of the change to the global model, where there is one and it can be measured
    num_examples: int | None
    metrics: Mapping[str, float]  # single numbers, without the number of examples
    layout: tuple[object, ...]  # records and keys: equal for replies that can be averaged


def check_header(header: UpdateHeader, asked: OpenPhase, node_id: int) -> None:
    """Check that a reply answers what its sender was asked, before its signature is.

    Raises:
        UpdateRejected: It does not.
    """
    if header.run_id != asked.run_id:
        raise UpdateRejected(Reason.WRONG_RUN, f"signed for run {header.run_id[:64]}")
    if header.server_round != asked.server_round:
        raise UpdateRejected(
            Reason.WRONG_ROUND, f"signed for round {header.server_round}, this is {asked.server_round}"
        )
    if header.attempt != asked.attempt:
        raise UpdateRejected(Reason.STALE_ATTEMPT, f"signed for attempt {header.attempt}, this is {asked.attempt}")
    if header.phase != asked.phase:
        raise UpdateRejected(Reason.WRONG_PHASE, f"signed for {header.phase[:64]}, this is {asked.phase}")
    if header.node_id != str(node_id):
        raise UpdateRejected(Reason.NODE_MISMATCH, f"signed by node {header.node_id}, sent by node {node_id}")
    request = asked.requests.get(node_id)
    if request is None:
        raise UpdateRejected(Reason.WRONG_NONCE, f"node {node_id} was not asked")
    if header.nonce != request.nonce:
        raise UpdateRejected(Reason.WRONG_NONCE, "does not answer the request this node was sent")
    if header.base_digest != request.base_digest:
        raise UpdateRejected(Reason.STALE_BASE, "computed from another global model than the one sent")
    if header.codec != RAW_CODEC:
        raise UpdateRejected(Reason.MALFORMED, f"codec {header.codec[:40]!r} is not known here")


def read_values(content: RecordDict, asked: OpenPhase, *, weight_key: str, needs_examples: bool) -> Values:
    """Decode a reply and check all that it holds.

    Args:
        content: The reply, signature and all.
        asked: What it answers.
        weight_key: Where its metrics hold the number of examples.
        needs_examples: Whether a reply without a number of examples is refused.

    Raises:
        UpdateRejected: Something cannot be used; the reply is not to be handed on.
    """
    arrays = _decode_arrays(content)
    norm = _check_arrays(arrays, asked)
    metrics: dict[str, float] = {}
    num_examples: int | None = None
    for record in content.values():
        if isinstance(record, MetricRecord):
            for key, value in record.items():
                _check_metric(key, value, is_weight=key == weight_key)
                if key == weight_key and num_examples is None:
                    num_examples = _read_num_examples(value, asked.phase)
                elif isinstance(value, int | float):
                    metrics[key] = float(value)
    if num_examples is None and needs_examples:
        raise UpdateRejected(Reason.NUM_EXAMPLES, f"holds no {weight_key!r}")
    return Values(arrays=arrays, norm=norm, num_examples=num_examples, metrics=metrics, layout=_layout_of(content))


def _decode_arrays(content: RecordDict) -> dict[str, Arrays]:
    try:
        return {
            name: {key: read_array(array) for key, array in record.items()}
            for name, record in content.items()
            if isinstance(record, ArrayRecord)
        }
    except ValueError as error:
        raise UpdateRejected(Reason.MALFORMED, str(error)) from error


def _check_arrays(records: Mapping[str, Arrays], asked: OpenPhase) -> float | None:
    """Check every array record against the schema; returns the norm of the update."""
    expected = asked.expected
    if ONLY_RECORD in expected and len(records) == 1:
        expected = {next(iter(records)): expected[ONLY_RECORD]}
    if records.keys() != expected.keys():
        raise UpdateRejected(Reason.SCHEMA, f"{len(records)} array records where {len(expected)} were asked for")
    norm = None
    for name, wanted in expected.items():
        if wanted.specs is not None:
            _check_specs(records[name], wanted.specs)
        if wanted.is_update:
            norm = _finite_norm(records[name], asked.model)
        is_measured = wanted.is_update and wanted.specs is not None  # then a finite norm has looked at every value
        if not is_measured and not all(_is_finite(array) for array in records[name].values()):
            raise UpdateRejected(Reason.NON_FINITE, f"record {name[:40]!r} has a value that is not finite")
    return norm


def _check_specs(arrays: Arrays, specs: Mapping[str, ArraySpec]) -> None:
    """Check names, shapes and dtypes after decoding: metadata can lie."""
    if arrays.keys() != specs.keys():
        differing = ", ".join(repr(name[:40]) for name in sorted(arrays.keys() ^ specs.keys())[:3])
        raise UpdateRejected(Reason.SCHEMA, f"arrays are missing or unknown: {differing}")
    for name, spec in specs.items():
        array = arrays[name]
        if array.shape != spec.shape or dtype_name(array.dtype) != spec.dtype:
            raise UpdateRejected(
                Reason.SCHEMA, f"array {name!r} is {dtype_name(array.dtype)}{array.shape}, not {spec.dtype}{spec.shape}"
            )


def _finite_norm(arrays: Arrays, model: Arrays) -> float | None:
    """Return the L2 norm of the change over all floating point arrays; None where the global model is not finite.

    One pass: as the model is finite, a finite norm says that every value is. A change whose square overflows in the
    model's own precision (at least float32) is refused however few clients there are: it would leave the momentum of
    FedAvgM or FedAdam infinite for the rest of the run.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        norm = _norm(arrays, model)
    if math.isfinite(norm):
        return norm
    for name, array in arrays.items():
        if not _is_finite(array):
            raise UpdateRejected(Reason.NON_FINITE, f"array {name!r} has a value that is not finite")
    if math.isinf(norm):
        raise UpdateRejected(Reason.NORM, "its change is too large to be squared")
    return None


def _norm(arrays: Arrays, model: Arrays) -> float:
    total = 0.0
    for name, base in model.items():
        if base.dtype.kind == "f" and name in arrays:
            dtype = np.promote_types(base.dtype, np.float32)
            delta = np.subtract(arrays[name], base, dtype=dtype).reshape(-1)
            total += sum(float(np.dot(part, part)) for part in _parts(delta))
    return math.sqrt(total) if total >= 0 else total


def _parts(values: AnyArray) -> list[AnyArray]:
    """Cut a vector so that BLAS takes each part alone.

    From 10,000 values on OpenBLAS wakes a second thread, and the server waits until a core is free of the workers.
    """
    return [values[start : start + _DOT_VALUES] for start in range(0, len(values), _DOT_VALUES)]


def _is_finite(array: AnyArray) -> bool:
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())


def _check_metric(key: str, value: object, *, is_weight: bool) -> None:
    numbers = value if isinstance(value, list) else [value]
    if len(numbers) > _MAX_LIST:
        raise UpdateRejected(Reason.SCHEMA, f"metric {key[:40]!r} has {len(numbers)} values")
    for number in numbers:
        if is_weight:
            continue  # judged as a number of examples
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise UpdateRejected(Reason.SCHEMA, f"metric {key[:40]!r} is not a number")
        if isinstance(number, int) and abs(number) > _MAX_INT:
            raise UpdateRejected(Reason.SCHEMA, f"metric {key[:40]!r} is out of range")
        if not math.isfinite(number):
            raise UpdateRejected(Reason.NON_FINITE, f"metric {key[:40]!r} is not finite")


def _read_num_examples(value: object, phase: str) -> int:
    """Return a positive whole number; in other phases than training 0 says that a client has no test data."""
    least = 1 if phase == TRAIN else 0
    if type(value) is not int or not least <= value <= _MAX_INT:
        raise UpdateRejected(
            Reason.NUM_EXAMPLES, f"the number of examples must be a positive whole number, got {_shown(value)}"
        )
    return value


def _shown(value: object) -> str:
    if type(value) is int:
        return str(value) if abs(value) <= _MAX_INT else "a number out of range"
    return f"{type(value).__name__} {value}" if isinstance(value, bool | float) else f"a {type(value).__name__}"


def _layout_of(content: RecordDict) -> tuple[object, ...]:
    """Describe array and metric records and their keys: replies of different layouts cannot be averaged."""
    layout: list[tuple[object, ...]] = []
    for name, record in content.items():
        if isinstance(record, MetricRecord):
            keys = sorted((key, len(item) if isinstance(item, list) else -1) for key, item in record.items())
            layout.append((name, "metrics", tuple(keys)))
        elif isinstance(record, ArrayRecord):
            layout.append((name, "arrays", ()))
    return tuple(sorted(layout))
