"""The checks that need the whole cohort: who can be averaged, who changed too much, who counts how much.

Pure functions of numbers: no Flower, no arrays.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shared.errors import ConfigError
from shared.reasons import Reason

MIN_COHORT_FOR_NORM = 4  # below, "the usual norm" is one client's opinion
MAX_COUNT_FACTOR = 10  # x the cohort's median: what a client that is not enrolled with a maximum counts at most
COHORT_MEDIAN, MAX_CLIENT_WEIGHT = "cohort-median", "max-client-weight"  # names of the bounds in events

Layout = tuple[object, ...]
Weight = int | float


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationPolicy:
    """How a cohort is judged."""

    min_valid: int = 1  # good updates below which a round keeps the old model
    max_norm_factor: float = 10.0  # x the cohort's median norm; 0 is off
    max_client_weight: float = 0.0  # any one client's share of the mean, in (0, 1]; 0 is off

    def __post_init__(self) -> None:
        """Check every range.

        Raises:
            ConfigError: Names the key, the range and the value.
        """
        if self.min_valid < 1:
            raise ConfigError(f"min-valid must be at least 1, got {self.min_valid}")
        if not 0 <= self.max_norm_factor < float("inf"):
            raise ConfigError(f"max-norm-factor must be at least 0, got {self.max_norm_factor}")
        if not 0 <= self.max_client_weight <= 1:
            raise ConfigError(f"max-client-weight must be at least 0 and at most 1, got {self.max_client_weight}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """What is judged of one client's update."""

    client: str
    layout: Layout
    norm: float | None
    num_examples: int | None
    is_enrolled_with_maximum: bool  # its number of examples was checked against that


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a member is left out."""

    client: str
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cap:
    """A member counts less than it claimed."""

    client: str
    claimed: int
    counted: float
    bound: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What becomes of a cohort."""

    layout: Layout | None  # of those that are left
    refusals: Sequence[Refusal]
    caps: Sequence[Cap]
    weights: Mapping[str, Weight]  # of each member that is left and said how many examples it has


def judge(members: Sequence[Member], policy: ValidationPolicy, usual_layout: Layout | None = None) -> Judgement:
    """Judge a cohort: layout, then norm, then weights, each among those that are left.

    Args:
        members: In a fixed order: it decides between layouts that are equally common.
        policy: The bounds.
        usual_layout: That of the round before, which decides such a draw first.
    """
    layout = _common_layout(members, usual_layout)
    refusals = [
        Refusal(client=member.client, reason=Reason.SCHEMA, detail="its records or metrics are not those of the others")
        for member in members
        if member.layout != layout
    ]
    alike = [member for member in members if member.layout == layout]
    refusals += out_of_proportion(alike, policy.max_norm_factor)
    refused = {refusal.client for refusal in refusals}
    weights, caps = _weigh([member for member in alike if member.client not in refused], policy.max_client_weight)
    return Judgement(layout=layout, refusals=refusals, caps=caps, weights=weights)


def _common_layout(members: Sequence[Member], usual: Layout | None) -> Layout | None:
    counts = Counter(member.layout for member in members)  # keeps the order of first sight
    if not counts:
        return None
    most = max(counts.values())
    candidates = [layout for layout, count in counts.items() if count == most]
    return usual if usual in candidates else candidates[0]


def out_of_proportion(members: Sequence[Member], max_factor: float) -> list[Refusal]:
    """Find the members whose change is larger than ``max_factor`` x the cohort's median norm.

    A client with k times the median's examples takes k times the steps, and may change the model k times as much, where
    its number of examples was checked. Without that, honest clients are refused: under Dirichlet 0.05 the largest norm
    is up to a hundred times the median, but in proportion to the examples it stays below nine times (default training,
    20 to 100 clients, cohorts of 4, 10 and all).
    """
    norms = [member.norm for member in members if member.norm is not None]
    if max_factor == 0 or len(norms) < MIN_COHORT_FOR_NORM:
        return []
    median = statistics.median(norms)
    if median == 0:  # half the cohort changed nothing: no measure of what is usual
        return []
    median_count = statistics.median(member.num_examples or 1 for member in members)
    return [
        Refusal(
            client=member.client,
            reason=Reason.NORM,
            detail=f"its change has norm {member.norm:.4g}, the cohort's median is {median:.4g}",
        )
        for member in members
        if member.norm is not None and member.norm > max_factor * median * _allowance(member, median_count)
    ]


def _allowance(member: Member, median_count: float) -> float:
    """Return how many times the usual change is plausible for a client that has more examples than is usual."""
    if not member.is_enrolled_with_maximum or member.num_examples is None:
        return 1.0
    return max(1.0, member.num_examples / median_count)


def _weigh(members: Sequence[Member], max_share: float) -> tuple[dict[str, Weight], list[Cap]]:
    claimed = {member.client: member.num_examples for member in members if member.num_examples}
    enrolled = {member.client for member in members if member.is_enrolled_with_maximum}
    weights: dict[str, Weight] = dict(claimed)
    caps: list[Cap] = []
    bounded = cap_counts(claimed, enrolled)
    for bound, lowered in ((COHORT_MEDIAN, bounded), (MAX_CLIENT_WEIGHT, bound_shares(bounded, max_share))):
        caps += [
            Cap(client=client, claimed=claimed[client], counted=float(weight), bound=bound)
            for client, weight in lowered.items()
            if weight < weights[client]
        ]
        weights = dict(lowered)
    return weights, caps


def cap_counts(counts: Mapping[str, int], enrolled: set[str]) -> dict[str, int]:
    """Lower the counts of clients that are not ``enrolled`` with a maximum to 10 x the median.

    The lower median: of two clients, one must not be able to lift it.
    """
    if not counts:
        return {}
    limit = MAX_COUNT_FACTOR * statistics.median_low(counts.values())
    return {client: count if client in enrolled else min(count, limit) for client, count in counts.items()}


def bound_shares(weights: Mapping[str, Weight], max_share: float) -> dict[str, Weight]:
    """Lower weights until none is more than ``max_share`` of their sum; 0 is off.

    Where no weights can do that (three clients, at most 0.3 each), all count alike.
    """
    bounded: dict[str, Weight] = dict(weights)
    positive = [client for client, weight in weights.items() if weight > 0]
    if max_share == 0 or not positive:
        return bounded
    if len(positive) * max_share <= 1:
        return bounded | dict.fromkeys(positive, min(weights[client] for client in positive))
    largest_first = sorted(positive, key=lambda client: (-weights[client], client))
    num_capped, rest = 0, sum(weights.values())
    # With c clients at the bound b, each weighs x = b (c x + rest): x = b rest / (1 - b c).
    while weights[largest_first[num_capped]] > (level := max_share * rest / (1 - max_share * num_capped)):
        rest -= weights[largest_first[num_capped]]
        num_capped += 1
    return bounded | dict.fromkeys(largest_first[:num_capped], level)
