"""``VerifiedStrategy``: any Flower strategy, given only replies that are signed, asked for, and of sane values.

Order of the checks: header and signature -> decode -> records, shapes, finite values, number of examples (each reply as
it comes); then norms and weights against the cohort; then the inner strategy, with the good replies sorted by client.
No reply can raise: one that is not good is left out, with a reason, and the round goes on.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.exception import AggregationError, InconsistentMessageReplies
from flwr.serverapp.strategy import Strategy

from app.engine.stages import MultiStage, Stage
from app.strategies.intake import CheckedReply, ClientOf, Intake
from app.strategies.requests import RequestSigner, clean_reply, copy_message
from app.strategies.restore import restore_model
from app.strategies.validation import Judgement, Layout, Member, ValidationPolicy, judge
from app.strategies.verification import EVALUATE, TRAIN, OpenPhase, ReplySchema, SentRequest, WholeModel
from app.strategies.wrapper import StrategyWrapper, innermost
from shared.crypto.directory import KeyDirectory, MaxExamples
from shared.errors import ConfigError, UpdateRejected
from shared.events import Event, UpdateAccepted, UpdateCapped
from shared.events import UpdateRejected as UpdateRejectedEvent
from shared.parameters import schema_of
from shared.reasons import Reason
from shared.records import from_array_record

DEFAULT_WEIGHT_KEY = "num-examples"

# What a strategy raises when these replies cannot be aggregated (too few for Krum, weights that sum to 0). Anything
# else is a fault in the strategy's code and ends the run with its traceback.
_CANNOT_AGGREGATE = (AggregationError, InconsistentMessageReplies, ValueError, ArithmeticError)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What one reply is worth by itself; the cohort's bounds come when all are there."""

    client: str  # who was asked, "" when nobody knows
    node_id: int
    reason: Reason | None = None  # why it is refused
    detail: str = ""
    num_examples: int | None = None
    norm: float | None = None

    @property
    def is_accepted(self) -> bool:
        """Whether the reply is good so far."""
        return self.reason is None


@dataclass(slots=True, kw_only=True)
class _Collected:
    """The replies of one open phase, kept by identity: the loop hands in each as it comes, and all at the end."""

    asked: OpenPhase
    verdicts: dict[int, tuple[Message, Verdict]] = field(default_factory=dict)
    checked: dict[int, CheckedReply] = field(default_factory=dict)


class VerifiedStrategy(StrategyWrapper):
    """Verifies, validates, and only then lets the inner strategy aggregate."""

    def __init__(
        self,
        inner: Strategy,
        *,
        run_id: str,
        server_key: RSAPrivateKey | None = None,
        directory: KeyDirectory | None = None,
        policy: ValidationPolicy | None = None,
        emit: Callable[[Event], None] = lambda _: None,
        now: Callable[[], float] = time.time,
        reply_schema: ReplySchema | None = None,
        require_signatures: bool = True,
        client_of: ClientOf | None = None,
        max_examples: MaxExamples | None = None,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """Wrap a strategy.

        Args:
            inner: Any Flower strategy.
            run_id: Ours; it outlives a restart.
            server_key: Signs the requests.
            directory: Who may sign.
            policy: The cohort's bounds.
            emit: Where events go.
            now: The server's clock, for what is signed.
            reply_schema: What replies hold; by default the inner strategy's ``reply_schema``, else the whole model.
            require_signatures: Off, replies are still validated, and each node is taken for one client.
            client_of: The client at each node, where the engine knows; else a node's first valid reply tells.
            max_examples: The most training examples of a client whose enrollment names none.
            random_bytes: Makes nonces.

        Raises:
            ConfigError: Signatures are required, and the key or the directory is missing.
        """
        super().__init__(inner)
        if require_signatures and (server_key is None or directory is None):
            raise ConfigError("signatures are on: the strategy needs the server's key and a directory of clients' keys")
        self._run_id = run_id
        self._policy = policy or ValidationPolicy()
        self._emit = emit
        self._schema = reply_schema or getattr(inner, "reply_schema", None) or WholeModel()
        self._signer = (
            RequestSigner(run_id=run_id, key=server_key, now=now, random_bytes=random_bytes)
            if require_signatures and server_key is not None
            else None
        )
        weight_key = getattr(innermost(inner), "weighted_by_key", None)
        self._weight_key = str(weight_key or DEFAULT_WEIGHT_KEY)
        self._intake = Intake(
            directory=directory if require_signatures else None,
            client_of=client_of,
            max_examples=max_examples,
            weight_key=self._weight_key,
            needs_examples=weight_key is not None,
        )
        self._round = 0
        self._attempts: dict[int, int] = {}  # the last attempt of each round
        self._open: dict[str, _Collected] = {}  # by phase, of this attempt
        self._usual_layouts: dict[str, Layout] = {}  # by phase, of the round before
        self.num_accepted: dict[str, int] = {}  # by phase, of the last cohort that was judged
        self.kept_because = ""  # why the last aggregation kept the old model, in one sentence

    def begin_round(self, server_round: int, attempt: int) -> None:
        """Start a round; ``attempt`` counts its starts and must be on disk, so that it outlives a restart.

        A loop that does not call this (Flower's own) starts each round once, as attempt 1.
        """
        self._round = server_round
        self._attempts[server_round] = attempt
        self._open.clear()
        self.num_accepted.clear()

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> list[Message]:
        """Let the inner strategy choose, and sign what it sends."""
        messages = self.inner.configure_train(server_round, arrays, config, grid)
        return self.seal(server_round, TRAIN, messages, arrays)

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> list[Message]:
        """Let the inner strategy choose, and sign what it sends."""
        messages = self.inner.configure_evaluate(server_round, arrays, config, grid)
        return self.seal(server_round, EVALUATE, messages, arrays)

    def configure_stage(
        self, stage: Stage, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> list[Message]:
        """Let an inner strategy of several stages choose, and sign what it sends."""
        messages = cast("MultiStage", self.inner).configure_stage(stage, server_round, arrays, config, grid)
        return self.seal(server_round, stage.phase, messages, arrays)

    def finish_stage(self, stage: Stage, server_round: int, replies: Sequence[Message]) -> None:
        """Hand the good replies of a stage to the inner strategy."""
        good = self.good_replies(server_round, stage.phase, replies)
        cast("MultiStage", self.inner).finish_stage(stage, server_round, good)

    def state_dict(self) -> dict[str, object]:
        """Return what the next round's judgement depends on; nodes are bound anew after a restart."""
        return {"usual-layouts": dict(self._usual_layouts)}

    def load_state_dict(self, state: Mapping[str, Mapping[str, Layout]], /) -> None:
        """Go on from what ``state_dict`` returned."""
        self._usual_layouts = dict(state["usual-layouts"])

    def seal(self, server_round: int, phase: str, messages: Iterable[Message], arrays: ArrayRecord) -> list[Message]:
        """Open a phase: sign its requests, and remember what was asked of whom.

        Args:
            server_round: The round, from 1.
            phase: "train", "evaluate", or a strategy's own.
            messages: What is to be sent; each is copied, so that no client sees another's edits.
            arrays: The global model, which replies are measured against.
        """
        if server_round != self._round or phase in self._open:  # a loop without attempts starts the round (again)
            self.begin_round(server_round, self._attempts.get(server_round, 0) + 1)
        attempt = self._attempts[server_round]
        if self._signer is None:
            copies = [copy_message(message) for message in messages]
            sent = {message.metadata.dst_node_id: (b"", b"") for message in copies}
        else:
            copies, headers = self._signer.sign(messages, attempt=attempt, server_round=server_round, phase=phase)
            sent = {int(header.node_id): (header.nonce, header.base_digest) for header in headers}
        model = from_array_record(arrays)
        self._open[phase] = _Collected(
            asked=OpenPhase(
                run_id=self._run_id,
                attempt=attempt,
                server_round=server_round,
                phase=phase,
                requests={
                    node_id: SentRequest(nonce=nonce, base_digest=base) for node_id, (nonce, base) in sent.items()
                },
                model=model,
                expected=self._schema.expected(phase, schema_of(model)),
            )
        )
        return copies

    def receive(self, server_round: int, phase: str, reply: Message) -> Verdict:
        """Check one reply by itself, as it comes; a reply that was received before keeps its verdict."""
        collected = self._open.get(phase)
        if collected is None or collected.asked.server_round != server_round:
            refusal = UpdateRejected(Reason.WRONG_ROUND, f"nobody is asked to {phase} in round {server_round}")
            return self._refuse(server_round, phase, reply, refusal)
        known = collected.verdicts.get(id(reply))
        if known is not None and known[0] is reply:
            return known[1]
        try:
            checked = self._intake.check(reply, collected.asked)
        except UpdateRejected as refusal:
            verdict = self._refuse(server_round, phase, reply, refusal)
        else:
            collected.checked[id(reply)] = checked
            verdict = Verdict(
                client=checked.client,
                node_id=reply.metadata.src_node_id,
                num_examples=checked.values.num_examples,
                norm=checked.values.norm,
            )
        collected.verdicts[id(reply)] = (reply, verdict)
        return verdict

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Aggregate the good replies; no arrays when there are too few, or the inner strategy cannot."""
        good = self.good_replies(server_round, TRAIN, replies)
        if len(good) < self._policy.min_valid:
            self._keep_model(server_round, f"{len(good)} good updates, min-valid is {self._policy.min_valid}")
            return None, None
        try:
            arrays, metrics = self.inner.aggregate_train(server_round, good)
            if arrays is not None:
                arrays = restore_model(arrays, schema_of(self._open[TRAIN].asked.model))
        except _CANNOT_AGGREGATE as error:
            self._keep_model(server_round, f"{type(self.inner).__name__} cannot aggregate: {error}")
            return None, None
        if arrays is None:
            self._keep_model(server_round, f"{type(self.inner).__name__} made no model of {len(good)} updates")
        return arrays, metrics

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Aggregate the good replies; nothing when there are none, or the inner strategy cannot."""
        good = self.good_replies(server_round, EVALUATE, replies)
        if not good:
            return None
        try:
            return self.inner.aggregate_evaluate(server_round, good)
        except _CANNOT_AGGREGATE as error:
            _log.warning("round %d: %s cannot aggregate metrics: %s", server_round, type(self.inner).__name__, error)
            return None

    def good_replies(self, server_round: int, phase: str, replies: Iterable[Message]) -> list[Message]:
        """Judge a phase's replies as a cohort; returns the good ones, cleaned, weighted, sorted by client."""
        self.kept_because = ""
        received = list(replies)
        for reply in received:
            self.receive(server_round, phase, reply)
        collected = self._open.get(phase)
        if collected is None or collected.asked.server_round != server_round:
            return []
        candidates = {id(reply): collected.checked[id(reply)] for reply in received if id(reply) in collected.checked}
        cohort = sorted(candidates.values(), key=lambda checked: checked.client)
        judgement = judge([_member(checked) for checked in cohort], self._policy, self._usual_layouts.get(phase))
        if judgement.layout is not None:
            self._usual_layouts[phase] = judgement.layout
        good = self._announce(server_round, phase, cohort, judgement)
        self.num_accepted[phase] = len(cohort) - len(judgement.refusals)
        return good

    def _announce(
        self, server_round: int, phase: str, cohort: Sequence[CheckedReply], judgement: Judgement
    ) -> list[Message]:
        refusals = {refusal.client: refusal for refusal in judgement.refusals}
        good: list[Message] = []
        for checked in cohort:
            if (refusal := refusals.get(checked.client)) is not None:
                self._refuse(server_round, phase, checked.reply, UpdateRejected(refusal.reason, refusal.detail))
                continue
            values = checked.values
            self._emit(
                UpdateAccepted(
                    server_round=server_round,
                    phase=phase,
                    client=checked.client,
                    num_examples=values.num_examples or 0,
                    norm=values.norm,
                    metrics=dict(values.metrics),
                )
            )
            weight = judgement.weights.get(checked.client)
            if weight is not None or values.num_examples is None:  # 0 test examples: nothing to average
                good.append(clean_reply(checked.reply, self._open[phase].asked, self._weight_key, weight))
        for cap in judgement.caps:
            self._emit(
                UpdateCapped(
                    server_round=server_round,
                    client=cap.client,
                    claimed=cap.claimed,
                    counted=cap.counted,
                    bound=cap.bound,
                )
            )
        return good

    def _refuse(self, server_round: int, phase: str, reply: Message, refusal: UpdateRejected) -> Verdict:
        node_id = reply.metadata.src_node_id
        reason = Reason(refusal.reason)
        client = self._intake.asked(node_id)
        self._emit(
            UpdateRejectedEvent(
                server_round=server_round,
                phase=phase,
                client=client,
                node_id=str(node_id),
                reason=reason.value,
                detail=refusal.detail,
            )
        )
        return Verdict(client=client, node_id=node_id, reason=reason, detail=refusal.detail)

    def _keep_model(self, server_round: int, why: str) -> None:
        self.kept_because = f"round {server_round} keeps the old model: {why}"
        _log.warning("%s", self.kept_because)


def _member(checked: CheckedReply) -> Member:
    return Member(
        client=checked.client,
        layout=checked.values.layout,
        norm=checked.values.norm,
        num_examples=checked.values.num_examples,
        is_enrolled_with_maximum=checked.is_enrolled_with_maximum,
    )
