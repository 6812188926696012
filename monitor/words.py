"""Words and numbers for people: refusal codes as sentences, durations, and text that a client cannot abuse."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping
from types import MappingProxyType

from shared.reasons import Reason

DASH = "–"  # "not known", in every table
MAX_TEXT = 200  # characters of a name or detail that are shown: one client must not fill the screen

REASON_WORDS: Mapping[str, str] = MappingProxyType(
    {
        Reason.CLIENT_ERROR: "the client answered with an error",
        Reason.MALFORMED: "the reply cannot be decoded",
        Reason.PROTOCOL_VERSION: "the client speaks another protocol version",
        Reason.ALGORITHM: "the signature uses another algorithm",
        Reason.WRONG_RUN: "the reply belongs to another run",
        Reason.STALE_ATTEMPT: "the reply answers an earlier start of the round",
        Reason.WRONG_ROUND: "the reply answers another round",
        Reason.WRONG_PHASE: "the reply answers another phase",
        Reason.NODE_MISMATCH: "the node belongs to another client",
        Reason.WRONG_NONCE: "the reply does not answer the request that was sent",
        Reason.STALE_BASE: "the client trained on another global model",
        Reason.UNKNOWN_KEY: "the signing key is not enrolled",
        Reason.REVOKED_KEY: "the signing key was revoked",
        Reason.BAD_SIGNATURE: "the signature is not valid",
        Reason.REPLAY: "the reply was sent before",
        Reason.SCHEMA: "names, shapes or types differ from the global model",
        Reason.NON_FINITE: "the update holds NaN or infinity",
        Reason.NUM_EXAMPLES: "the example count is not believable",
        Reason.NORM: "the update is far larger than the other clients' updates",
        Reason.BUDGET_EXHAUSTED: "the privacy budget of the client's data is spent",
        Reason.PRIVACY_LEDGER: "the client cannot trust its record of the privacy it spent",
        Reason.PRIVACY: "the client trained with less privacy than was asked for",
    }
)


def reason_in_words(reason: str) -> str:
    """Say why a reply was refused; a code this version does not know is shown as it is."""
    return REASON_WORDS.get(reason) or clean(reason)


def clean(text: object, limit: int = MAX_TEXT) -> str:
    """Make text safe to show on one line of a terminal or a page.

    Control, format and surrogate characters become "?": escape sequences move the cursor or rewrite the screen, and
    right-to-left overrides make one name look like another. Line breaks and tabs become spaces.
    """
    shown = str(text)[: limit + 1]
    shown = "".join(" " if c in "\t\n\r" else c if _is_visible(c) else "?" for c in shown)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def _is_visible(character: str) -> bool:
    return (character.isascii() and character.isprintable()) or unicodedata.category(character)[0] not in "CZ"


def number(value: float | None, digits: int = 3) -> str:
    """Format a measurement with ``digits`` decimals; very small and very large ones in scientific notation."""
    if value is None or not math.isfinite(value):
        return DASH
    size = abs(value)
    if size and (size < 0.5 * 10**-digits or size >= 1e7):
        return f"{value:.{digits}g}"
    return f"{value:.{digits}f}"


def percent(fraction: float | None, digits: int = 1) -> str:
    """Format a fraction as per cent: 0.9512 -> "95.1%"."""
    return DASH if fraction is None or not math.isfinite(fraction) else f"{100 * fraction:.{digits}f}%"


def count(value: float | None) -> str:
    """Format a whole number with thousands separators."""
    return DASH if value is None or not math.isfinite(value) else f"{value:,.0f}"


def duration(seconds: float | None) -> str:
    """Format seconds for people: "0.4 s", "12 s", "3 min 05 s", "2 h 10 min"."""
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        return DASH
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def plural(amount: int, noun: str, nouns: str = "") -> str:
    """Return "1 client", "2 clients", "1,000 clients"."""
    return f"{amount:,} " + (noun if amount == 1 else nouns or f"{noun}s")


def size(value: float) -> str:
    """Format a large count in short: 46,730 -> "46.7k", 11,200,000 -> "11.2M"."""
    for bound, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= bound:
            return f"{value / (1e3 if unit == 'k' else bound):.1f}{unit}"
    return count(value)
