"""Which values a setting may have: one line a range, checked when ``shared.config.RunConfig`` is made."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from shared.errors import ConfigError

Values = Mapping[str, Any]  # every setting by its key, of the type that RunConfig gives it
Check = Callable[[Values], None]

ATTACKS = (
    *("forge", "replay", "nan", "scale", "shape", "num-examples", "silent"),  # the checks refuse these
    # These are signed and plausible: what robust rules are for
    *("sign-flip", "label-flip", "gaussian", "alie", "alie-1", "ipm", "backdoor", "free-rider", "sybil"),
)
_TRAIN_FOR_EACH_OTHER = frozenset({"alie", "alie-1", "ipm", "sybil"})
ENGINES = ("local", "flower", "ray")
PARTITIONS = ("dirichlet", "iid", "shard")
OPTIMIZERS = ("sgd", "adam", "adamw")
DEVICES = ("auto", "cpu", "cuda", "mps")
MAX_SEED = 2**32 - 1
SAME_AS_FRACTION = -1.0
MAX_NUMBER = 2**63 - 1  # what TOML and the wire hold


def check_ranges(values: Values) -> None:
    """Check every range.

    Raises:
        ConfigError: Names the key, the range and the value.
    """
    for check in _CHECKS:
        check(values)


def require(key: str, ok: bool, wanted: str, got: object) -> None:
    """Refuse a value, in the one sentence that all settings share."""
    if not ok:
        raise ConfigError(f"{key} must be {wanted}, got {got!r}")


def _number(key: str, minimum: float, *, above: bool = False, maximum: float = math.inf) -> Check:
    """Make a check that ``key`` is finite and within [minimum, maximum], or (minimum, maximum] with ``above``."""

    def check(values: Values) -> None:
        value = values[key]
        bound = f"above {minimum:g}" if above else f"at least {minimum:g}"
        high = min(maximum, MAX_NUMBER)
        wanted = bound if math.isinf(maximum) and not value > high else f"{bound} and at most {high:.10g}"
        low = value > minimum if above else value >= minimum
        require(key, low and value <= high, wanted, value)  # NaN is neither

    return check


def _one_of(key: str, choices: tuple[str, ...]) -> Check:
    def check(values: Values) -> None:
        value = values[key]
        require(key, value in choices, f"one of {', '.join(choices)}", value)

    return check


def _non_empty(key: str) -> Check:
    def check(values: Values) -> None:
        value = values[key]
        require(key, bool(value.strip()), "a name", value)

    return check


def _attacks(values: Values) -> None:
    hostile = 0
    for attack in values["attack"]:
        name, colon, count = attack.partition(":")
        wanted = f"NAME:K with NAME one of {', '.join(ATTACKS)} and K a whole number from 1 up"
        is_count = colon and count.isdecimal() and len(count) < 10 and int(count) >= 1
        require("attack", bool(name in ATTACKS and is_count), wanted, attack)
        hostile += int(count)
    require(
        "attack", hostile <= values["num-clients"], f"at most num-clients ({values['num-clients']}) in all", hostile
    )


def _fraction_evaluate(values: Values) -> None:
    value = values["fraction-evaluate"]
    require("fraction-evaluate", value == SAME_AS_FRACTION or 0 <= value <= 1, "from 0 to 1, or -1", value)


def _at_most_num_clients(key: str) -> Check:
    def check(values: Values) -> None:
        value = values[key]
        require(key, value <= values["num-clients"], f"at most num-clients ({values['num-clients']})", value)

    return check


def _secure_aggregation(values: Values) -> None:
    """Refuse secrets that nobody could trust, or that would not be any."""
    if not values["secure-aggregation"]:
        require("secagg-groups", values["secagg-groups"] == 1, "given with secure-aggregation", values["secagg-groups"])
        return
    require("secure-aggregation", values["signatures"], "used with signatures: keys must be their owners'", True)
    least = 3 * values["secagg-groups"]
    fits = values["num-clients"] * values["fraction"] >= least
    wanted = f"at most a third of the {values['num-clients'] * values['fraction']:g} clients of a round"
    require("secagg-groups", fits, wanted, values["secagg-groups"])


def _privacy(values: Values) -> None:
    """Refuse half a guarantee: privacy without noise, or its constants without it."""
    if values["dp"]:
        has_noise = values["target-epsilon"] > 0 or values["noise-multiplier"] > 0
        require("dp", has_noise, "given with target-epsilon or noise-multiplier: nothing says how much noise", True)
        for attack in values["attack"]:  # each would be charged for its partners' data, and be spent early
            does_collude = attack.partition(":")[0] in _TRAIN_FOR_EACH_OTHER
            require("attack", not does_collude, "another one with dp, where no client trains for its partners", attack)
        # In a masked sum nobody hears the clients' accountants.
        require("dp", not values["secure-aggregation"], "used without secure-aggregation", True)
        return
    for key in ("target-epsilon", "noise-multiplier", "delta"):
        require(key, values[key] == 0, "given with dp: without it nothing is private", values[key])


_CHECKS: tuple[Check, ...] = (
    _non_empty("dataset"),
    _non_empty("model"),
    _non_empty("strategy"),
    _non_empty("output"),
    _one_of("partition", PARTITIONS),
    _one_of("optimizer", OPTIMIZERS),
    _one_of("engine", ENGINES),
    _one_of("device", DEVICES),
    _number("alpha", 0, above=True),
    _number("num-examples", 1),
    _number("min-partition-size", 1),
    _number("shards-per-client", 1),
    _number("num-clients", 1),
    _number("num-rounds", 1),
    _number("fraction", 0, above=True, maximum=1),
    _fraction_evaluate,
    _number("min-clients", 1),
    _at_most_num_clients("min-clients"),  # more would wait for ever
    _number("server-learning-rate", 0),
    _number("server-momentum", 0, maximum=1),
    _number("num-malicious", 0),
    _number("over-selection", 1, maximum=10),
    _number("target-accuracy", 0, maximum=1),
    _number("patience", 0),
    _number("local-epochs", 1),
    _number("local-steps", 0),
    _number("batch-size", 1),
    _number("learning-rate", 0, above=True),
    _number("momentum", 0, maximum=1),
    _number("weight-decay", 0),
    _number("proximal-mu", 0),
    _number("seed", 0, maximum=MAX_SEED),
    _number("workers", 0),
    _number("round-timeout-s", 0, above=True),
    _number("quorum", 0, above=True, maximum=1),
    _number("min-valid", 1),
    _at_most_num_clients("min-valid"),
    _number("max-norm-factor", 0),
    _number("max-client-weight", 0, maximum=1),
    _number("target-epsilon", 0),
    _number("noise-multiplier", 0),
    _number("max-grad-norm", 0, above=True),
    _number("delta", 0, maximum=0.5),
    _privacy,
    _number("secagg-groups", 1),
    _number("secagg-clip", 0, above=True),
    _secure_aggregation,
    _number("web-port", 0, maximum=65_535),
    _attacks,
)
