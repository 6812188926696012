"""What stands between the clients and a strategy: it opens phases, takes replies as they come, and judges cohorts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from flwr.app import ArrayRecord, Message

from app.strategies.intake import CheckedReply, Intake
from app.strategies.requests import RequestSigner, clean_reply, copy_message
from app.strategies.validation import Cap, Judgement, Layout, Member, ValidationPolicy, judge
from app.strategies.verification import OpenPhase, ReplySchema, SentRequest
from shared.errors import UpdateRejected
from shared.events import ClientIdentified, Event, UpdateAccepted, UpdateCapped
from shared.events import UpdateRejected as UpdateRejectedEvent
from shared.parameters import schema_of
from shared.reasons import Reason
from shared.records import from_array_record


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


class Gate:
    """Lets only good replies through. No reply makes it raise."""

    def __init__(
        self,
        *,
        run_id: str,
        signer: RequestSigner | None,
        intake: Intake,
        schema: ReplySchema,
        policy: ValidationPolicy,
        emit: Callable[[Event], None],
    ) -> None:
        """Set the parts; without a signer, requests go out as the strategy made them."""
        self._run_id = run_id
        self._signer = signer
        self._intake = intake
        self._schema = schema
        self._policy = policy
        self._emit = emit
        self._round = 0
        self._attempts: dict[int, int] = {}  # the last attempt of each round
        self._open: dict[str, _Collected] = {}  # by phase, of this attempt
        self.usual_layouts: dict[str, Layout] = {}  # by phase, of the round before
        self.num_accepted: dict[str, int] = {}  # by phase of this round: who passed the cohort's checks too

    def name_at(self, node_id: int) -> str:
        """Return what to call whoever is at this node."""
        return self._intake.name_at(node_id)

    def begin_round(self, server_round: int, attempt: int) -> None:
        """Start a round: replies to earlier starts of it are stale from now on."""
        self._round = server_round
        self._attempts[server_round] = attempt
        self._open.clear()
        self.num_accepted.clear()

    def asked(self, server_round: int, phase: str) -> OpenPhase | None:
        """Return what was asked in this round and phase."""
        collected = self._open.get(phase)
        return collected.asked if collected is not None and collected.asked.server_round == server_round else None

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
            requests = {copy.metadata.dst_node_id: SentRequest(nonce=b"", base_digest=b"") for copy in copies}
        else:
            copies, headers = self._signer.sign(messages, attempt=attempt, server_round=server_round, phase=phase)
            requests = {
                int(header.node_id): SentRequest(nonce=header.nonce, base_digest=header.base_digest)
                for header in headers
            }
        model = from_array_record(arrays)
        asked = OpenPhase(
            run_id=self._run_id,
            attempt=attempt,
            server_round=server_round,
            phase=phase,
            requests=requests,
            model=model,
            expected=self._schema.expected(phase, schema_of(model)),
        )
        self._open[phase] = _Collected(asked=asked)
        return copies

    def receive(self, server_round: int, phase: str, reply: Message) -> Verdict:
        """Check one reply by itself, as it comes; one that was received before keeps its verdict, or the cohort's."""
        asked = self.asked(server_round, phase)
        if asked is None:
            detail = f"nobody is asked to {phase} in round {server_round}"
            return self._refuse(server_round, phase, reply, UpdateRejected(Reason.WRONG_ROUND, detail))
        collected = self._open[phase]
        known = collected.verdicts.get(id(reply))
        if known is not None and known[0] is reply:
            return known[1]
        node_id = reply.metadata.src_node_id
        was_called = self._intake.name_at(node_id)
        checked: CheckedReply | UpdateRejected
        try:
            checked = self._intake.check(reply, asked)
        except UpdateRejected as refusal:
            checked = refusal
        if (client := self._intake.name_at(node_id)) != was_called:
            self._emit(ClientIdentified(server_round=server_round, client=client, node_id=str(node_id)))
        if isinstance(checked, UpdateRejected):
            verdict = self._refuse(server_round, phase, reply, checked)
        else:
            collected.checked[id(reply)] = checked
            verdict = Verdict(
                client=checked.client,
                node_id=node_id,
                num_examples=checked.values.num_examples,
                norm=checked.values.norm,
            )
        collected.verdicts[id(reply)] = (reply, verdict)
        return verdict

    def good_replies(self, server_round: int, phase: str, replies: Iterable[Message]) -> list[Message]:
        """Judge a phase's replies as a cohort; returns the good ones, cleaned, weighted, sorted by client."""
        received = list(replies)
        for reply in received:
            self.receive(server_round, phase, reply)
        asked = self.asked(server_round, phase)
        if asked is None:
            return []
        known = self._open[phase].checked
        candidates = {id(reply): known[id(reply)] for reply in received if id(reply) in known}
        cohort = sorted(candidates.values(), key=lambda checked: checked.client)
        judgement = judge([_member(checked) for checked in cohort], self._policy, self.usual_layouts.get(phase))
        if judgement.layout is not None:
            self.usual_layouts[phase] = judgement.layout
        self.num_accepted[phase] = len(cohort) - len(judgement.refusals)
        return self._let_through(asked, cohort, judgement)

    def _let_through(self, asked: OpenPhase, cohort: Sequence[CheckedReply], judgement: Judgement) -> list[Message]:
        refusals = {refusal.client: refusal for refusal in judgement.refusals}
        good: list[Message] = []
        for checked in cohort:
            if (refusal := refusals.get(checked.client)) is not None:
                error = UpdateRejected(refusal.reason, refusal.detail)
                verdict = self._refuse(asked.server_round, asked.phase, checked.reply, error, client=checked.client)
                self._open[asked.phase].verdicts[id(checked.reply)] = checked.reply, verdict
                continue
            self._accept(asked, checked)
            weight = judgement.weights.get(checked.client)
            if weight is not None or checked.values.num_examples is None:  # 0 test examples: nothing to average
                good.append(
                    clean_reply(
                        checked.reply, asked, self._intake.weight_key, weight, is_private=self._intake.is_private
                    )
                )
        for cap in judgement.caps:
            self._emit(_capped(asked.server_round, cap))
        return good

    def _accept(self, asked: OpenPhase, checked: CheckedReply) -> None:
        self._emit(
            UpdateAccepted(
                server_round=asked.server_round,
                phase=asked.phase,
                client=checked.client,
                num_examples=checked.values.num_examples or 0,
                norm=checked.values.norm,
                metrics=dict(checked.values.metrics),
            )
        )

    def _refuse(
        self, server_round: int, phase: str, reply: Message, refusal: UpdateRejected, *, client: str = ""
    ) -> Verdict:
        """Tell of a refusal, and of who was asked: a forgery is not charged to the client it claims to be."""
        node_id = reply.metadata.src_node_id
        reason = Reason(refusal.reason)
        asked = client or self._asked_at(server_round, phase, node_id)
        self._emit(
            UpdateRejectedEvent(
                server_round=server_round,
                phase=phase,
                client=asked,
                node_id=str(node_id),
                reason=reason.value,
                detail=refusal.detail,
            )
        )
        return Verdict(client=asked, node_id=node_id, reason=reason, detail=refusal.detail)

    def _asked_at(self, server_round: int, phase: str, node_id: int) -> str:
        """Return who was asked at this node; "" when nobody was."""
        asked = self.asked(server_round, phase)
        if asked is not None and node_id in asked.requests:
            return self._intake.name_at(node_id)
        return self._intake.client_at(node_id)


def _member(checked: CheckedReply) -> Member:
    return Member(
        client=checked.client,
        layout=checked.values.layout,
        norm=checked.values.norm,
        num_examples=checked.values.num_examples,
        is_enrolled_with_maximum=checked.is_enrolled_with_maximum,
    )


def _capped(server_round: int, cap: Cap) -> UpdateCapped:
    return UpdateCapped(
        server_round=server_round, client=cap.client, claimed=cap.claimed, counted=cap.counted, bound=cap.bound
    )
