"""``SecureAggregation``: the server learns the sum of the clients' changes, and no change alone.

SecAgg+ (Bell et al., CCS 2020, figure 2, for an honest-but-curious server) over Flower's Message API, as a strategy of
several stages around one of the FedAvg family: the inner strategy chooses the cohort and makes the next model of the
mean. With groups, sums are secure inside a group and the group means go through a robust rule: per-client checks of
values are impossible where values are hidden.
"""

from __future__ import annotations

import copy
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg, Strategy

from app.engine.stages import Stage
from app.strategies.aggregation_override import aggregation_rule, has_mean_inside
from app.strategies.secagg_session import Session, letters_of, own_keys, shares_by_owner, unmasked_sum
from app.strategies.verification import TRAIN, ExpectedArrays
from app.strategies.wrapper import StrategyWrapper
from shared.aggregation import (
    NEEDS_TRUSTED_UPDATE,
    NO_STATE,
    AggregationContext,
    AggregationRule,
    AggregationState,
)
from shared.config import RunConfig
from shared.errors import ConfigError, ProtocolError
from shared.parameters import AnyArray, Arrays, ArraySpec, dtype_name
from shared.records import config_record, from_array_record, to_array_record
from shared.secagg.neighbours import neighbours, threshold_of
from shared.secagg.protocol import (
    KEYS,
    MASKED,
    RECORD,
    SHARES,
    UNMASK,
    UPDATE,
    keys_to_record,
)
from shared.secagg.quantisation import FloatArray, Quantisation, weight_levels

DEFAULT_MAX_EXAMPLES = 10_000
MIN_GROUP = 3  # clients: the sum of two tells each of them the other's


@dataclass(frozen=True, slots=True, kw_only=True)
class SecAggSettings:
    """How a cohort sums in secret."""

    clip: float = 4.0  # of one coordinate of a change
    max_examples: int = DEFAULT_MAX_EXAMPLES  # whoever has more counts as having these
    groups: int = 1
    timeout_s: float = 600.0  # of each stage


def in_secret(strategy: Strategy, config: RunConfig, max_examples: int) -> SecureAggregation:
    """Let a strategy's mean be made of masked updates.

    Raises:
        ConfigError: The strategy needs to see updates, or so does the aggregation rule.
    """
    if not has_mean_inside(strategy):
        raise ConfigError(
            f"secure-aggregation hides the updates that strategy {config.strategy} needs to see; use fedavg, fedprox, "
            "fedavgm, fedadam, fedyogi or fedadagrad"
        )
    if config.aggregation in NEEDS_TRUSTED_UPDATE:
        raise ConfigError(f"secure-aggregation does not go with aggregation {config.aggregation}; choose median")
    if config.aggregation not in ("", "mean") and config.secagg_groups == 1:
        raise ConfigError(
            f"secure-aggregation hides the updates that aggregation {config.aggregation} needs to see; it can work on "
            "the means of groups: give secagg-groups"
        )
    settings = SecAggSettings(
        clip=config.secagg_clip,
        max_examples=max_examples,
        groups=config.secagg_groups,
        timeout_s=config.round_timeout_s,
    )
    rule = aggregation_rule(config.aggregation) if config.aggregation else None
    return SecureAggregation(strategy, settings, rule=rule, num_malicious=config.num_malicious)


class MaskedSchema:
    """What replies hold: one array of words in the update stage, nothing but records of the protocol elsewhere."""

    def expected(self, phase: str, model: Mapping[str, ArraySpec]) -> Mapping[str, ExpectedArrays]:
        """Return the array records of a phase's replies by name."""
        if phase != f"{TRAIN}.{UPDATE}":
            return {}
        size = sum(int(np.prod(spec.shape)) for spec in model.values() if np.dtype(spec.dtype).kind == "f")
        words = ArraySpec(shape=(size + 1,), dtype=dtype_name(np.dtype(np.uint32)))
        return {MASKED: ExpectedArrays(specs={MASKED: words})}


class SecureAggregation(StrategyWrapper):
    """A strategy of the FedAvg family whose mean is made of masked updates."""

    def __init__(
        self,
        inner: FedAvg,
        settings: SecAggSettings | None = None,
        *,
        rule: AggregationRule | None = None,
        num_malicious: int = 0,
    ) -> None:
        """Wrap a strategy.

        Args:
            inner: Chooses clients, and takes the mean as one client's model.
            settings: How to sum.
            rule: Made of the group means, each counting with its group's weight; by default their mean.
            num_malicious: How many groups' means may be hostile, for the rule.
        """
        super().__init__(inner)
        self._fedavg = inner
        self._settings = settings or SecAggSettings()
        self._rule = rule
        self._num_malicious = num_malicious
        self._rule_state: AggregationState = NO_STATE
        self._session: Session | None = None
        self.reply_schema = MaskedSchema()

    def state_dict(self) -> dict[str, AnyArray]:
        """Return what the rule remembers; a session ends with its round."""
        return dict(self._rule_state)

    def load_state_dict(self, state: dict[str, AnyArray]) -> None:
        """Go on from ``state_dict``'s answer."""
        self._rule_state = dict(state)

    # The stages

    def stages(self, server_round: int) -> Sequence[Stage]:
        """Return the exchanges before the unmasking, which is the train phase."""
        del server_round
        return [
            Stage(name=name, timeout_s=self._settings.timeout_s, min_replies=MIN_GROUP)
            for name in (KEYS, SHARES, UPDATE)
        ]

    def configure_stage(
        self, stage: Stage, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Make the requests of one stage."""
        if stage.name == KEYS:
            requests = self._fedavg.configure_train(server_round, arrays, config, grid)
            self._session = Session(
                name=secrets.token_hex(16),
                requests={message.metadata.dst_node_id: message for message in requests},
                base=from_array_record(arrays),
            )
            return [self._request(node, stage.phase, {"stage": KEYS}) for node in self._session.requests]
        return self._share_requests(stage.phase) if stage.name == SHARES else self._update_requests(stage.phase)

    def finish_stage(self, stage: Stage, server_round: int, replies: Sequence[Message]) -> None:
        """Take the accepted replies of one stage. What is not of the protocol's form counts as not answered."""
        del server_round
        session = self._open
        for reply in replies:
            node = reply.metadata.src_node_id
            try:
                if stage.name == KEYS:
                    session.keys[node] = own_keys(reply, node)
                elif stage.name == SHARES:
                    session.letters[node] = letters_of(reply, session.near[node])
                else:
                    session.masked[node] = from_array_record(reply.content.array_records[MASKED])[MASKED].copy()
            except (ProtocolError, KeyError):
                continue
        if stage.name == KEYS:
            self._form_groups(session)

    def _form_groups(self, session: Session) -> None:
        nodes = sorted(session.keys)
        secrets.SystemRandom().shuffle(nodes)  # hostile clients shall not choose their company
        count = max(1, min(self._settings.groups, len(nodes) // MIN_GROUP))
        session.groups = [nodes[first::count] for first in range(count)]
        for group in session.groups:
            session.near |= neighbours(group, secrets.randbits(64))

    def _share_requests(self, phase: str) -> list[Message]:
        session = self._open
        return [
            self._request(
                node,
                phase,
                {
                    "stage": SHARES,
                    "threshold": threshold_of(len(near)),
                    **keys_to_record([session.keys[other] for other in near]),
                },
            )
            for node, near in session.near.items()
        ]

    def _update_requests(self, phase: str) -> list[Message]:
        session = self._open
        grid = self._grid(session)
        messages = []
        for node in session.letters:
            senders = session.senders_to(node)
            asked = {
                "stage": UPDATE,
                "nodes": [str(other) for other in senders],
                "letters": [session.letters[other][node] for other in senders],
                "clip": grid.clip,
                "max-weight": grid.max_weight,
                "cohort": grid.cohort,
                "max-examples": self._settings.max_examples,
            }
            messages.append(self._request(node, phase, asked, content=session.requests[node].content))
        return messages

    # The train phase: unmasking

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Ask those whose updates came for the shares that take the masks off."""
        del server_round, arrays, config, grid
        session = self._open
        messages = []
        hidden = [session.came(group) for group in session.groups if len(session.came(group)) >= MIN_GROUP]
        for node in [node for came in hidden for node in came]:
            senders = session.senders_to(node)
            asked = {
                "stage": UNMASK,
                "came": [str(other) for other in senders if other in session.masked],
                "gone": [str(other) for other in senders if other not in session.masked],
            }
            messages.append(self._request(node, TRAIN, asked))
        return messages

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Take the masks off each group's sum, and hand the mean to the inner strategy as one client's model.

        Raises:
            ValueError: Too few shares came, or they do not fit: the old model stays.
        """
        session, self._session = self._open, None
        received = list(replies)
        shares = shares_by_owner(received, session)
        means: list[tuple[FloatArray, int]] = []
        for group in session.groups:
            came = session.came(group)
            if len(came) >= MIN_GROUP:
                means.append(self._grid(session).decode(unmasked_sum(session, came, shares)))
        if not means or not received:
            raise ValueError("no group has enough updates to hide each of them")
        model = self._combine(server_round, session, means)
        if model is None:
            return None, None
        pattern = copy.copy(received[0])
        weight = sum(weight for _, weight in means)
        metrics = MetricRecord({self._fedavg.weighted_by_key: weight})
        pattern.content = RecordDict({self._fedavg.arrayrecord_key: to_array_record(model), "metrics": metrics})
        return self._fedavg.aggregate_train(server_round, [pattern])

    def _combine(self, server_round: int, session: Session, means: Sequence[tuple[FloatArray, int]]) -> Arrays | None:
        weights = [weight for _, weight in means]
        if self._rule is None:
            total = sum(weights)
            mean = sum((weight / total * change for change, weight in means), np.zeros(len(means[0][0])))
            return _moved(session.base, mean)
        context = AggregationContext(base=session.base, server_round=server_round, num_malicious=self._num_malicious)
        models = [_moved(session.base, change) for change, _ in means]
        result, self._rule_state = self._rule(models, weights, context, self._rule_state)
        return None if result is None else result.arrays

    @property
    def _open(self) -> Session:
        if self._session is None:
            raise ValueError("no session of secure aggregation is open")
        return self._session

    def _grid(self, session: Session) -> Quantisation:
        cohort = len(session.requests)
        return Quantisation(
            clip=self._settings.clip,
            max_weight=weight_levels(self._settings.max_examples, cohort),
            cohort=cohort,
        )

    def _request(
        self, node: int, phase: str, asked: Mapping[str, object], content: RecordDict | None = None
    ) -> Message:
        record = config_record({"session": self._open.name, **asked})  # type: ignore[dict-item]
        return Message(RecordDict({**(content or {}), RECORD: record}), dst_node_id=node, message_type=phase)


def _moved(base: Arrays, change: FloatArray) -> dict[str, AnyArray]:
    """Return the model moved by a flat change, array by array in the order of sorted names; counters stay."""
    moved: dict[str, AnyArray] = {}
    start = 0
    for name in sorted(base):
        array = base[name]
        if array.dtype.kind != "f":
            moved[name] = array
            continue
        part = change[start : start + array.size].reshape(array.shape)
        moved[name] = (array.astype(np.float64) + part).astype(array.dtype)
        start += array.size
    return {name: moved[name] for name in base}
