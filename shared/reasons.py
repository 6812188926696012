"""Stable codes for why a reply was not aggregated: events, reports, the dashboard and tests use them."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why one reply was refused. The value is what is written down; never rename one."""

    CLIENT_ERROR = "client-error"  # the client answered with an error instead of an update
    MALFORMED = "malformed"  # header fields missing, extra or of the wrong type; arrays that do not decode
    PROTOCOL_VERSION = "protocol-version"
    ALGORITHM = "algorithm"
    WRONG_RUN = "wrong-run"
    STALE_ATTEMPT = "stale-attempt"  # answers an earlier start of this round
    WRONG_ROUND = "wrong-round"
    WRONG_PHASE = "wrong-phase"
    NODE_MISMATCH = "node-mismatch"  # the header's node is not the sender, or the node belongs to another client
    WRONG_NONCE = "wrong-nonce"  # not an answer to the request this node was sent
    STALE_BASE = "stale-base"  # computed from another global model
    UNKNOWN_KEY = "unknown-key"
    REVOKED_KEY = "revoked-key"
    BAD_SIGNATURE = "bad-signature"
    REPLAY = "replay"
    SCHEMA = "schema"  # names, shapes, dtypes or metrics differ from what was asked for
    NON_FINITE = "non-finite"
    NUM_EXAMPLES = "num-examples"
    NORM = "norm"
    # Said by the client itself, signed: it does not train, and neither asks for another chance nor is at fault.
    BUDGET_EXHAUSTED = "budget-exhausted"  # the privacy budget of its data is spent; it is not asked to train again
    PRIVACY_LEDGER = "privacy-ledger"  # its record of what was spent is missing, edited or older than it was
    PRIVACY = "privacy"  # trained with less privacy than was asked for, or does not say with how much
