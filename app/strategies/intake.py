"""Takes one reply: whose it is, whether its signature holds, and what it says."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from flwr.app import ConfigRecord, Message

from app.strategies.privacy import PrivacyTally
from app.strategies.verification import EVALUATE, TRAIN, OpenPhase, Values, check_header, read_values
from shared.crypto.directory import EnrolledKey, KeyDirectory, MaxExamples
from shared.crypto.signing import SIGNATURE_RECORD, UpdateHeader, parse_update, verify_update
from shared.errors import UpdateRejected
from shared.parameters import model_digest
from shared.privacy.reply import REFUSAL_DETAIL, REFUSAL_REASON, REFUSAL_RECORD
from shared.reasons import Reason
from shared.records import flatten_records, values_of

_log = logging.getLogger(__name__)

_MAX_ERROR_TEXT = 300  # characters kept of a client's error: it is the client's text, not ours

# Why a client itself does not train; any other reason in a refusal makes it a reply without arrays.
_CLIENTS_OWN_REASONS = frozenset({Reason.BUDGET_EXHAUSTED, Reason.PRIVACY_LEDGER, Reason.PRIVACY})

ClientOf = Callable[[int], str]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CheckedReply:
    """A reply that is good by itself."""

    client: str
    reply: Message
    values: Values
    is_enrolled_with_maximum: bool


class Intake:
    """Checks replies one by one, and remembers which client is at which node.

    A node is bound to a client at its first valid reply: stock node ids change from start to start. Where the engine
    knows its clients, ``client_of`` says so from the start.
    """

    def __init__(
        self,
        *,
        directory: KeyDirectory | None,
        client_of: ClientOf | None,
        max_examples: MaxExamples | None,
        weight_key: str,
        needs_examples: bool,
        privacy: PrivacyTally | None = None,
    ) -> None:
        """Set the sources; without a directory, signatures are not looked at, without a tally, nor is privacy."""
        self._directory = directory
        self._client_of = client_of
        self._max_examples = max_examples
        self.weight_key = weight_key  # where metrics hold the number of examples
        self._needs_examples = needs_examples
        self._privacy = privacy
        self._bound: dict[int, str] = {}

    @property
    def is_private(self) -> bool:
        """Whether clients say what their training cost in privacy."""
        return self._privacy is not None

    def client_at(self, node_id: int) -> str:
        """Return the client that a request to this node asks, "" when nobody knows yet."""
        if self._client_of is not None:
            return self._client_of(node_id)
        return self._bound.get(node_id, "")

    def name_at(self, node_id: int) -> str:
        """Return what to call whoever is at this node: the client, or the node itself as long as nobody knows."""
        return self.client_at(node_id) or f"node-{node_id}"

    def check(self, reply: Message, asked: OpenPhase) -> CheckedReply:
        """Check one reply.

        Raises:
            UpdateRejected: It is not good; says why. Nothing else is raised, whatever the reply holds.
        """
        if not reply.has_content():
            raise UpdateRejected(Reason.CLIENT_ERROR, _error_text(reply))
        try:
            return self._checked(reply, asked)
        except UpdateRejected:
            raise
        except Exception as error:  # hostile bytes are decoded here: whatever they break, they are refused
            _log.debug("a reply of node %d cannot be read", reply.metadata.src_node_id, exc_info=True)
            raise UpdateRejected(Reason.MALFORMED, f"cannot be read: {type(error).__name__}") from error

    def _checked(self, reply: Message, asked: OpenPhase) -> CheckedReply:
        if self._directory is None:
            client, enrolled_maximum = self._unsigned(reply, asked), None
        else:
            client, enrolled = self._signed(reply, asked, self._directory)
            enrolled_maximum = enrolled.max_examples
        if asked.phase == TRAIN:
            self._take_refusal(client, reply)
        needs_examples = self._needs_examples and asked.phase in (TRAIN, EVALUATE)
        values = read_values(reply.content, asked, weight_key=self.weight_key, needs_examples=needs_examples)
        maximum = self._maximum(client, enrolled_maximum) if asked.phase == TRAIN else None
        if maximum is not None and values.num_examples is not None and values.num_examples > maximum:
            raise UpdateRejected(
                Reason.NUM_EXAMPLES, f"claims {values.num_examples} examples, enrolled with at most {maximum}"
            )
        if self._privacy is not None and asked.phase == TRAIN:
            self._privacy.check(client, values)
        return CheckedReply(client=client, reply=reply, values=values, is_enrolled_with_maximum=maximum is not None)

    def _take_refusal(self, client: str, reply: Message) -> None:
        """Take a client's word that it does not train: its signature was checked, so nobody else can say so for it."""
        record = reply.content.get(REFUSAL_RECORD)
        reason = record.get(REFUSAL_REASON) if isinstance(record, ConfigRecord) else None
        if not isinstance(record, ConfigRecord) or reason not in _CLIENTS_OWN_REASONS:
            return
        if reason == Reason.BUDGET_EXHAUSTED and self._privacy is not None:
            self._privacy.exhaust(client)
        raise UpdateRejected(str(reason), _plain(str(record.get(REFUSAL_DETAIL, ""))))

    def _maximum(self, client: str, enrolled: int | None) -> int | None:
        if enrolled is not None or self._max_examples is None:
            return enrolled
        return self._max_examples(client)

    def _unsigned(self, reply: Message, asked: OpenPhase) -> str:
        node_id = reply.metadata.src_node_id
        if node_id not in asked.requests:
            raise UpdateRejected(Reason.WRONG_NONCE, f"node {node_id} was not asked")
        client = self.name_at(node_id)
        _count_once(client, asked)
        return client

    def _signed(self, reply: Message, asked: OpenPhase, directory: KeyDirectory) -> tuple[str, EnrolledKey]:
        node_id = reply.metadata.src_node_id
        record = reply.content.get(SIGNATURE_RECORD)
        if record is None:
            raise UpdateRejected(Reason.MALFORMED, "not signed: is the signing mod on at this client?")
        header, signature = parse_update(values_of(record))
        check_header(header, asked, node_id)
        enrolled = _find(directory, header)
        _check_signature(reply, header, signature, enrolled)
        self._bind(node_id, header.client_id)
        _count_once(header.client_id, asked)
        return header.client_id, enrolled

    def _bind(self, node_id: int, client: str) -> None:
        known = self.client_at(node_id)
        if known and known != client:
            raise UpdateRejected(Reason.NODE_MISMATCH, f"node {node_id} is {known}, the reply is signed by {client}")
        if self._client_of is None:
            self._bound[node_id] = client


def _find(directory: KeyDirectory, header: UpdateHeader) -> EnrolledKey:
    enrolled = directory.find(header.client_id, header.key_id)
    if enrolled is None:
        raise UpdateRejected(
            Reason.UNKNOWN_KEY, f"key {header.key_id[:16]} is not enrolled for {header.client_id[:64]}"
        )
    if enrolled.is_revoked:
        raise UpdateRejected(Reason.REVOKED_KEY, f"key {header.key_id[:16]} of {header.client_id[:64]} is revoked")
    return enrolled


def _check_signature(reply: Message, header: UpdateHeader, signature: bytes, enrolled: EnrolledKey) -> None:
    try:
        arrays, values = flatten_records(reply.content, without=SIGNATURE_RECORD)
        digest = model_digest(arrays)
    except ValueError as error:
        raise UpdateRejected(Reason.MALFORMED, str(error)) from error
    verify_update(enrolled.public_key, header, signature, values, digest)


def _count_once(client: str, asked: OpenPhase) -> None:
    """Mark the client as having answered: only a valid signature gets here, so nobody can use up another's turn."""
    if client in asked.seen:
        raise UpdateRejected(Reason.REPLAY, f"{client} has answered this request before")
    asked.seen.add(client)


def _error_text(reply: Message) -> str:
    reason = reply.error.reason if reply.has_error() else None  # on this machine it is whatever the client's code gave
    return _plain(str(reason or "no reason given"))


def _plain(text: str) -> str:
    text = text[: 10 * _MAX_ERROR_TEXT]
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:_MAX_ERROR_TEXT]
