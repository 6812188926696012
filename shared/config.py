"""The settings of a run: the one place where a default is written.

Names are snake_case here and kebab-case everywhere a person or a wire sees them (TOML, command line, Flower's run
config); ``key_of`` and ``field_of`` are the one conversion. A run stores what it resolved as ``config.toml``.
"""

from __future__ import annotations

import os
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

from shared.config_ranges import MAX_NUMBER, SAME_AS_FRACTION, check_ranges, require
from shared.errors import ConfigError

Scalar = bool | int | float | str


def key_of(field_name: str) -> str:
    """Turn a field's name into its key: ``num_rounds`` -> ``num-rounds``."""
    return field_name.replace("_", "-")


def field_of(key: str) -> str:
    """Turn a key into its field's name: ``num-rounds`` -> ``num_rounds``."""
    return key.replace("-", "_")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """Everything a run depends on. An empty string or 0 means "off" or "chosen automatically" where it says so."""

    # Data: a built-in name, folder:PATH, npz:PATH, csv:PATH or pkg.mod:attr
    dataset: str = "mnist-sample"
    data_dir: str = ""  # where torchvision's data sets lie or are downloaded to; "" is the user's cache folder
    num_examples: int = 10_000  # synthetic only
    partition: str = "dirichlet"
    alpha: float = 0.5  # Dirichlet concentration: smaller is more skewed
    min_partition_size: int = 1  # examples each client has at the least
    shards_per_client: int = 2  # shard only

    # Model: a built-in name or pkg.mod:attr
    model: str = "cnn"

    # Federation
    num_clients: int = 3
    num_rounds: int = 5
    fraction: float = 1.0  # of the clients that train in a round
    fraction_evaluate: float = -1.0  # of the clients that evaluate in a round; 0 is none, -1 the same as fraction
    min_clients: int = 1  # wait for as many before a round starts
    strategy: str = "fedavg"
    aggregation: str = ""  # replaces the mean inside the FedAvg family; "" keeps the strategy's own
    server_learning_rate: float = 0.0  # fedavgm, fedadam, fedyogi, fedadagrad; 0 is the strategy's default
    server_momentum: float = 0.9  # fedavgm
    over_selection: float = 1.0  # ask this many times as many clients, and take those that answer first
    target_accuracy: float = 0.0  # ends the run early once the global model has it; 0 is off
    patience: int = 0  # ends the run early after so many rounds without a better accuracy; 0 is off
    initial_model: str = ""  # a model.safetensors to start from; "" is a fresh model
    num_malicious: int = 0  # how many hostile updates krum, multikrum and bulyan assume

    # Local training
    local_epochs: int = 1
    local_steps: int = 0  # when positive, so many steps a round instead of epochs
    batch_size: int = 32
    learning_rate: float = 0.02
    optimizer: str = "sgd"
    momentum: float = 0.9
    weight_decay: float = 0.0
    proximal_mu: float = 0.0  # FedProx's mu; the strategy fedprox uses 0.1 when this is 0
    device: str = "auto"
    seed: int = 42

    # Engine
    engine: str = "local"
    workers: int = 0  # worker processes of the local engine; 0 is one a core
    round_timeout_s: float = 600.0  # each phase of a round ends here, whoever is missing
    quorum: float = 1.0  # a phase ends once this share of its clients gave a good answer

    # Verification
    signatures: bool = True
    min_valid: int = 1  # good updates below which a round keeps the old model
    max_norm_factor: float = 10.0  # x the cohort's median norm; 0 is off
    max_client_weight: float = 0.0  # any one client's share of the mean, in (0, 1]; 0 is off
    key_dir: str = ""  # clients' keys; "" is the user's data folder
    attack: tuple[str, ...] = ()  # NAME:K makes K clients hostile

    # Differential privacy of each example
    dp: bool = False
    target_epsilon: float = 0.0  # the budget of a client's data; 0 is none. With noise too: when the client stops
    noise_multiplier: float = 0.0  # sigma; 0 is as little as keeps all rounds within target-epsilon
    max_grad_norm: float = 1.0  # C: the L2 norm that each example's gradient is clipped to
    delta: float = 0.0  # 0 is min(1e-5, 1/(10 n)) for a client of n examples

    # Secure aggregation
    secure_aggregation: bool = False
    secagg_groups: int = 1  # sums are secret inside a group; an aggregation rule works on the groups' means
    secagg_clip: float = 4.0  # of one coordinate of a change: what is farther out is cut

    # Output
    output: str = "runs"
    web_port: int = 5000
    no_dashboard: bool = False

    def __post_init__(self) -> None:
        """Check every type and range; 1 becomes 1.0 where a fraction is wanted, a list a tuple, a path its text.

        Raises:
            ConfigError: Names the key, the range and the value.
        """
        for name, kind in _FIELD_KINDS.items():
            object.__setattr__(self, name, _widened(getattr(self, name), kind))
            require(key_of(name), _is_kind(getattr(self, name), kind), _KIND_NAMES[kind], getattr(self, name))
        check_ranges({key_of(name): getattr(self, name) for name in _FIELD_KINDS})

    @property
    def evaluating_fraction(self) -> float:
        """The share of clients that evaluate in a round: ``fraction_evaluate``, or ``fraction`` where that is -1."""
        return self.fraction if self.fraction_evaluate == SAME_AS_FRACTION else self.fraction_evaluate

    def as_flat(self) -> dict[str, Scalar]:
        """Return kebab-case scalars, as TOML and Flower's run config hold them; lists are joined by commas."""
        flat: dict[str, Scalar] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            flat[key_of(field.name)] = ",".join(value) if isinstance(value, tuple) else value
        return flat

    def to_toml(self) -> str:
        """Write the settings as TOML, one key a line, in the order of this class."""
        return "".join(f"{key} = {_toml_value(value)}\n" for key, value in self.as_flat().items())


def _is_kind(value: object, kind: type) -> bool:
    if kind is tuple:
        return isinstance(value, tuple) and all(_is_kind(item, str) for item in value)
    if kind is str:
        return isinstance(value, str) and _is_unicode(value)
    return isinstance(value, kind) and isinstance(value, bool) == (kind is bool)


def _is_unicode(text: str) -> bool:
    """Tell text that a file can hold from half a surrogate pair, which a path in another encoding turns into."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


# What most published runs use; outside it the command warns and does what it is told.
USUAL_RANGES: Mapping[str, tuple[float, float]] = types.MappingProxyType(
    {"local-epochs": (1, 10), "batch-size": (16, 128), "learning-rate": (0.001, 0.1), "num-rounds": (1, 100)}
)


def unusual_settings(config: RunConfig) -> list[str]:
    """Say, one sentence each, which settings lie outside the usual ranges."""
    return [
        f"{key} {value:g} is outside the usual range {low:g}-{high:g}"
        for key, (low, high) in USUAL_RANGES.items()
        if not low <= (value := getattr(config, field_of(key))) <= high
    ]


def parse_setting(key: str, text: str) -> Scalar | tuple[str, ...]:
    """Read one setting from text (an environment variable, ``KEY=VALUE``).

    Raises:
        ConfigError: The key does not exist or the text is not of its type.
    """
    kind = _kind_of(key, "setting")
    if kind is bool:
        lowered = text.strip().lower()
        if lowered not in _BOOLEANS:
            raise ConfigError(f"{key} must be true or false, got {text!r}")
        return _BOOLEANS[lowered]
    if kind in (int, float):
        try:
            return int(text) if kind is int else float(text)
        except ValueError:
            wanted = "a whole number" if kind is int else "a number"
            raise ConfigError(f"{key} must be {wanted}, got {text!r}") from None
    return _split(text) if kind is tuple else text


_BOOLEANS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}


def from_mapping(values: Mapping[str, object], *, where: str, base: RunConfig | None = None) -> RunConfig:
    """Apply kebab-case settings over ``base``, or over the defaults.

    Args:
        values: Keys and values as TOML or Flower's run config give them.
        where: Where they stand, for the error's sentence.
        base: What the values are laid over.

    Raises:
        ConfigError: A key does not exist, or a value is of the wrong type or out of range.
    """
    return replace(base or RunConfig(), **read_settings(values, where=where))


def read_settings(values: Mapping[str, object], *, where: str) -> dict[str, typing.Any]:
    """Read kebab-case settings as fields of their types, without judging their ranges.

    Raises:
        ConfigError: A key does not exist, or a value is of the wrong type.
    """
    changes: dict[str, typing.Any] = {}
    for key, value in values.items():
        kind = _kind_of(key, where)
        read = _widened(value, kind)
        if type(read) is not kind or (isinstance(read, tuple) and not all(isinstance(item, str) for item in read)):
            raise ConfigError(f"{key} in {where} must be {_KIND_NAMES[kind]}, got {value!r}")
        changes[field_of(key)] = read
    return changes


def load_toml(path: Path) -> dict[str, object]:
    """Read a file of settings: flat, or under ``[run]``.

    Raises:
        ConfigError: The file cannot be read or is not TOML.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ConfigError(f"config file {path} cannot be read: {reason}; give an existing TOML file") from error
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # not TOML, a number of 5,000 digits, brackets without end
        raise ConfigError(f"config file {path} is not valid TOML: {error}") from error
    run = values.pop("run", {})
    return {**values, **run} if isinstance(run, dict) else {**values, "run": run}


def from_environment(environment: Mapping[str, str] = os.environ) -> dict[str, object]:
    """Collect ``CONSTELLATION_NUM_ROUNDS=10`` and its like; other names of that prefix are left to others."""
    prefix = "CONSTELLATION_"
    found: dict[str, object] = {}
    for name, text in sorted(environment.items()):
        key = key_of(name.removeprefix(prefix).lower())
        if name.startswith(prefix) and field_of(key) in _FIELD_KINDS:
            try:
                found[key] = parse_setting(key, text)
            except ConfigError as error:
                raise ConfigError(f"environment variable {name}: {error}") from error
    return found


def _widened(value: object, kind: type) -> object:
    """Read a whole number as a fraction, a list or a comma-separated text as a tuple, a path as text, where wanted."""
    if kind is float and type(value) is int and abs(value) <= MAX_NUMBER:
        return float(value)
    if kind is str and isinstance(value, Path):
        return str(value)
    if kind is tuple and isinstance(value, str):
        return _split(value)
    return tuple(value) if kind is tuple and isinstance(value, list) else value


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _toml_value(value: Scalar) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        escaped = "".join(_TOML_ESCAPES.get(c, c if c.isprintable() else f"\\U{ord(c):08X}") for c in value)
        return f'"{escaped}"'
    return repr(value)


_TOML_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}

_FIELD_KINDS: Mapping[str, type] = types.MappingProxyType(
    {name: typing.get_origin(hint) or hint for name, hint in typing.get_type_hints(RunConfig).items()}
)
_KIND_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "text", tuple: "a list of texts"}


def _kind_of(key: str, where: str) -> type:
    kind = _FIELD_KINDS.get(field_of(key))
    if kind is None or key != key_of(key):
        near = _nearest(key)
        hint = f"; did you mean {near}?" if near else ""
        raise ConfigError(f"unknown key {key!r} in {where}{hint}")
    return kind


def _nearest(key: str) -> str:
    import difflib

    found = difflib.get_close_matches(key_of(key), [key_of(name) for name in _FIELD_KINDS], n=1)
    return found[0] if found else ""
