"""The 23 cases of the signature scheme, through the whole of ``VerifiedStrategy.receive``, and random mutations.

Mallory sits on the way: she sees every request and reply, can change, drop, keep and resend them, and may be an
enrolled client herself. She has nobody else's private key.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import fields

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS, PKCS1v15
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from hypothesis import given, settings
from hypothesis import strategies as st

from app.strategies.gate import Verdict
from shared.crypto.digest import content_digest
from shared.crypto.signing import SIGNATURE_RECORD, UpdateHeader
from shared.parameters import model_digest
from shared.reasons import Reason
from shared.records import flatten_records, from_array_record, to_array_record
from tests.actors import FIRST_NODE, Federation, identity, private_key, with_header, with_record

NUM_MUTATIONS = 300  # in CI; the long run raises it to 10,000


def verdict_on(attack: Callable[[Message], Message], federation: Federation | None = None) -> Verdict:
    """Let client-0 answer honestly, mallory do her worst to the reply, and the server judge it."""
    arena = federation or Federation()
    reply = arena.replies()[0]
    return arena.strategy.receive(1, "train", attack(reply))


def with_array(reply: Message, change: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]) -> Message:
    arrays = {name: array.copy() for name, array in from_array_record(reply.content["arrays"]).items()}
    return with_record(reply, "arrays", to_array_record(change(arrays)))


def with_metrics(reply: Message, **metrics: float) -> Message:
    changed = {key.replace("_", "-"): value for key, value in metrics.items()}
    return with_record(reply, "metrics", MetricRecord({**reply.content["metrics"], **changed}))


def resigned(reply: Message, padding: object) -> Message:
    """Sign a reply with its own client's key, but another padding."""
    record = dict(reply.content["signature"])
    header = {key: value for key, value in record.items() if key != "signature"}
    arrays, values = flatten_records(reply.content, without=SIGNATURE_RECORD)
    digest = content_digest(b"constellation/update/v1\0", header, values, model_digest(arrays))
    key = private_key("client-0")
    return with_header(reply, signature=key.sign(digest, padding, Prehashed(SHA256())))  # type: ignore[arg-type]


def one_ulp(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    arrays["conv.bias"][0] = np.nextafter(arrays["conv.bias"][0], np.float32(9))
    return arrays


def signature_of(reply: Message) -> bytes:
    return reply.content["signature"]["signature"]  # type: ignore[return-value]


def test_case_01_an_honest_update_is_accepted() -> None:
    assert verdict_on(lambda reply: reply).is_accepted


def test_case_02_a_replay_in_the_same_round_is_dropped() -> None:
    federation = Federation()
    reply = federation.replies()[0]
    assert federation.strategy.receive(1, "train", reply).is_accepted

    assert federation.strategy.receive(1, "train", copy.copy(reply)).reason == Reason.REPLAY


def test_case_03_a_replay_in_the_next_round_is_dropped() -> None:
    federation = Federation()
    reply = federation.replies(1)[0]
    federation.ask(2)

    assert federation.strategy.receive(2, "train", reply).reason == Reason.WRONG_ROUND


def test_case_04_an_update_relayed_as_another_node_is_dropped() -> None:
    federation = Federation()
    requests = federation.ask()
    stolen = Message(federation.answer(requests[0]).content, reply_to=requests[1])

    assert federation.strategy.receive(1, "train", stolen).reason == Reason.NODE_MISMATCH


def test_case_05_an_update_stolen_under_another_id_is_dropped() -> None:
    federation = Federation()
    requests = federation.ask()
    thief = identity("client-1")
    stolen = Message(federation.answer(requests[0]).content, reply_to=requests[1])
    claimed = with_header(
        stolen,
        client_id="client-1",
        key_id=thief.key_id,
        node_id=str(FIRST_NODE + 1),
        nonce=requests[1].content["request"]["nonce"],
    )

    assert federation.strategy.receive(1, "train", claimed).reason == Reason.BAD_SIGNATURE


ATTACKS: dict[str, tuple[Callable[[Message], Message], Reason | None]] = {
    "06 the key of another client": (
        lambda reply: with_header(reply, key_id=identity("client-1").key_id),
        Reason.UNKNOWN_KEY,
    ),
    "07 algorithm none": (lambda reply: with_header(reply, algorithm="none"), Reason.ALGORITHM),
    "08 an extra header field": (lambda reply: with_header(reply, extra=1), Reason.MALFORMED),
    "09 a changed number of examples": (lambda reply: with_metrics(reply, num_examples=6000), Reason.BAD_SIGNATURE),
    "10 an int turned into a float": (lambda reply: with_metrics(reply, num_examples=10.0), Reason.BAD_SIGNATURE),
    "11 one ulp in one value": (lambda reply: with_array(reply, one_ulp), Reason.BAD_SIGNATURE),
    "12 a reshaped array": (
        lambda reply: with_array(reply, lambda arrays: {**arrays, "fc.weight": arrays["fc.weight"].reshape(2, 4)}),
        Reason.BAD_SIGNATURE,
    ),
    "13 the same bytes as another dtype": (
        lambda reply: with_array(reply, lambda arrays: {**arrays, "conv.bias": arrays["conv.bias"].view(np.int32)}),
        Reason.BAD_SIGNATURE,
    ),
    "14 a renamed array": (
        lambda reply: with_array(
            reply, lambda arrays: {("fc.x" if k == "fc.weight" else k): v for k, v in arrays.items()}
        ),
        Reason.BAD_SIGNATURE,
    ),
    "15 the arrays in another order": (
        lambda reply: with_array(reply, lambda arrays: dict(reversed(arrays.items()))),
        None,
    ),
    "16 the same values in Fortran order": (
        lambda reply: with_record(
            reply,
            "arrays",
            ArrayRecord(
                {k: Array(np.asfortranarray(v)) for k, v in from_array_record(reply.content["arrays"]).items()}
            ),
        ),
        None,
    ),
    "17 the same values as big-endian": (
        lambda reply: with_record(
            reply,
            "arrays",
            ArrayRecord({k: Array(v.astype(">f4")) for k, v in from_array_record(reply.content["arrays"]).items()}),
        ),
        None,
    ),
    "18 a stale base model": (lambda reply: with_header(reply, base_digest=bytes(32)), Reason.STALE_BASE),
    "19 a truncated signature": (
        lambda reply: with_header(reply, signature=signature_of(reply)[:-1]),
        Reason.BAD_SIGNATURE,
    ),
    "20 an empty signature": (lambda reply: with_header(reply, signature=b""), Reason.BAD_SIGNATURE),
    "21 a PKCS1v15 signature": (lambda reply: resigned(reply, PKCS1v15()), Reason.BAD_SIGNATURE),
    "22 a PSS signature with the longest salt": (
        lambda reply: resigned(reply, PSS(MGF1(SHA256()), PSS.MAX_LENGTH)),
        Reason.BAD_SIGNATURE,
    ),
}


@pytest.mark.parametrize("case", ATTACKS)
def test_case(case: str) -> None:
    attack, reason = ATTACKS[case]

    assert verdict_on(attack).reason == reason


def test_the_helper_that_signs_again_makes_signatures_that_hold() -> None:
    # Or cases 21 and 22 would pass for the wrong reason.
    assert verdict_on(lambda reply: resigned(reply, PSS(MGF1(SHA256()), 32))).is_accepted


def test_case_23_a_revoked_key_is_refused_from_the_next_reply_on() -> None:
    federation = Federation()
    first, second, _ = federation.replies()
    assert federation.strategy.receive(1, "train", first).is_accepted

    federation.directory.revoke("client-1", identity("client-1").key_id)

    assert federation.strategy.receive(1, "train", second).reason == Reason.REVOKED_KEY


MORE_ATTACKS: dict[str, tuple[Callable[[Message], Message], Reason]] = {
    "no signature record": (lambda reply: with_record(reply, "signature", None), Reason.MALFORMED),
    "metrics where the signature should be": (
        lambda reply: with_record(reply, "signature", MetricRecord({"attempt": 1})),
        Reason.MALFORMED,
    ),
    "a missing header field": (lambda reply: with_header(reply, codec=None), Reason.MALFORMED),
    "a header field of another type": (lambda reply: with_header(reply, attempt=1.0), Reason.MALFORMED),
    "a truth value for a number": (lambda reply: with_header(reply, attempt=True), Reason.MALFORMED),
    "a node id with a sign": (lambda reply: with_header(reply, node_id=f"+{FIRST_NODE}"), Reason.MALFORMED),
    "a node id in other digits": (lambda reply: with_header(reply, node_id="١٠١"), Reason.MALFORMED),
    "text that would break a log": (lambda reply: with_header(reply, client_id="a\nb"), Reason.MALFORMED),
    "a short nonce": (lambda reply: with_header(reply, nonce=b"x"), Reason.MALFORMED),
    "an infinite time": (lambda reply: with_header(reply, issued_at=float("inf")), Reason.MALFORMED),
    "another protocol": (lambda reply: with_header(reply, protocol_version=2), Reason.PROTOCOL_VERSION),
    "another run": (lambda reply: with_header(reply, run_id="run-2"), Reason.WRONG_RUN),
    "an earlier attempt": (lambda reply: with_header(reply, attempt=9), Reason.STALE_ATTEMPT),
    "another phase": (lambda reply: with_header(reply, phase="evaluate"), Reason.WRONG_PHASE),
    "another nonce": (lambda reply: with_header(reply, nonce=bytes(16)), Reason.WRONG_NONCE),
    "another codec": (lambda reply: with_header(reply, codec="zip"), Reason.MALFORMED),
    "a client nobody knows": (lambda reply: with_header(reply, client_id="client-9"), Reason.UNKNOWN_KEY),
    "a client with a path for a name": (lambda reply: with_header(reply, client_id="../client-0"), Reason.UNKNOWN_KEY),
    "a time before": (lambda reply: with_header(reply, issued_at=0.0), Reason.BAD_SIGNATURE),
    "a metric more": (lambda reply: with_metrics(reply, bonus=1.0), Reason.BAD_SIGNATURE),
    "a record more": (lambda reply: with_record(reply, "more", ConfigRecord({"a": 1})), Reason.BAD_SIGNATURE),
    "an empty record more": (lambda reply: with_record(reply, "more", MetricRecord()), Reason.BAD_SIGNATURE),
    "a record less": (lambda reply: with_record(reply, "metrics", None), Reason.BAD_SIGNATURE),
}


@pytest.mark.parametrize("case", MORE_ATTACKS)
def test_what_is_changed_on_the_way_is_refused(case: str) -> None:
    attack, reason = MORE_ATTACKS[case]
    federation = Federation()

    assert verdict_on(attack, federation).reason == reason
    assert federation.rejections() == [("node-101", reason.value)]  # one record each, and it names no client


def test_no_single_bit_of_a_signature_can_be_flipped() -> None:
    federation = Federation()
    reply = federation.replies()[0]
    signature = signature_of(reply)
    accepted = 0
    for index in range(2048):
        flipped = bytearray(signature)
        flipped[index // 8] ^= 1 << index % 8
        verdict = federation.strategy.receive(1, "train", with_header(reply, signature=bytes(flipped)))
        accepted += verdict.is_accepted
        assert verdict.reason == Reason.BAD_SIGNATURE

    assert accepted == 0
    assert federation.strategy.receive(1, "train", reply).is_accepted  # nobody used up the client's turn


HEADER_VALUES = st.one_of(
    st.integers(-(2**63), 2**63 - 1), st.floats(), st.booleans(), st.text(max_size=40), st.binary(max_size=40)
)
HEADER_FIELDS = [field.name.replace("_", "-") for field in fields(UpdateHeader)] + ["signature"]


@st.composite
def mutations(draw: st.DrawFn) -> Callable[[Message], Message]:
    """Draw one change that makes a reply say something else."""
    kind = draw(st.sampled_from(["header", "drop-field", "payload-bit", "metric", "record", "rename", "bytes"]))
    name = draw(st.sampled_from(["conv.weight", "conv.bias", "fc.weight"]))
    value = draw(HEADER_VALUES)
    position = draw(st.integers(0, 10**6))
    text = draw(st.text(min_size=1, max_size=8))

    def mutate(reply: Message) -> Message:
        field = HEADER_FIELDS[position % len(HEADER_FIELDS)]
        if kind == "header":
            return with_header(reply, **{field: value})
        if kind == "drop-field":
            return with_header(reply, **{field: None})
        if kind == "metric":
            return with_record(reply, "metrics", MetricRecord({**reply.content["metrics"], "loss": position / 7}))
        if kind == "record":
            return with_record(reply, text, ConfigRecord({"k": value}))
        if kind == "rename":
            return with_array(reply, lambda arrays: {(text if key == name else key): arrays[key] for key in arrays})
        if kind == "bytes":
            return with_record(reply, "arrays", _damaged(reply.content["arrays"], name, position))
        return with_array(reply, lambda arrays: _flipped(arrays, name, position))

    return mutate


def _flipped(arrays: dict[str, np.ndarray], name: str, position: int) -> dict[str, np.ndarray]:
    raw = arrays[name].reshape(-1).view(np.uint8)
    raw[position % raw.size] ^= 1 << position // raw.size % 8
    return arrays


def _damaged(record: ArrayRecord, name: str, position: int) -> ArrayRecord:
    """Damage one byte of an array in Flower's serialisation: its header, or a value."""
    damaged = ArrayRecord()
    for key, array in record.items():
        data = bytearray(array.data)
        if key == name:
            data[position % len(data)] ^= 0x41
        damaged[key] = Array(dtype=array.dtype, shape=array.shape, stype=array.stype, data=bytes(data))
    return damaged


@settings(max_examples=NUM_MUTATIONS)
@given(mutations())
def test_no_mutation_of_a_signed_update_is_accepted(mutate: Callable[[Message], Message]) -> None:
    federation, reply = _one_reply()
    mutated = mutate(reply)
    if _same(mutated, reply):  # the drawn value was the field's own
        return
    before = len(federation.events)

    verdict = federation.strategy.receive(1, "train", mutated)

    assert not verdict.is_accepted
    assert len(federation.events) == before + 1  # one record of each attempt


_SHARED: list[tuple[Federation, Message]] = []


def _one_reply() -> tuple[Federation, Message]:
    if not _SHARED:  # signing anew for each example would only cost time: a refused reply leaves no trace
        federation = Federation()
        _SHARED.append((federation, federation.replies()[0]))
    return _SHARED[0]


def _same(one: Message, other: Message) -> bool:
    def plain(content: RecordDict) -> list[tuple[str, list[tuple[str, str]]]]:
        return [
            (name, [(key, repr(item.data if isinstance(item, Array) else item)) for key, item in record.items()])
            for name, record in content.items()
        ]

    return plain(one.content) == plain(other.content)
