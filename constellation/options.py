"""Command-line options out of ``RunConfig``: one place for names and defaults, one table for the words.

Every option's default is None: an option that was not given leaves the file's and the environment's settings alone.
"""

from __future__ import annotations

import functools
import inspect
import os
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from constellation.resuming import check_resumable
from shared.config import RunConfig, from_environment, from_mapping, key_of, load_toml, read_settings
from shared.errors import ConfigError

_DATA, _FEDERATION, _TRAINING, _ENGINE, _TRUST, _OUTPUT = (
    "Data and model",
    "Federation",
    "Local training",
    "Engine",
    "Verification and attacks",
    "Output",
)

# field -> (panel, help)
_HELP: Mapping[str, tuple[str, str]] = types.MappingProxyType(
    {
        "dataset": (
            _DATA,
            "mnist-sample, mnist, fashion-mnist, cifar10, synthetic, folder:PATH, npz:PATH, csv:PATH or pkg.mod:attr",
        ),
        "data_dir": (_DATA, "where torchvision's data sets lie, or are downloaded to"),
        "num_examples": (_DATA, "examples of the synthetic data set"),
        "partition": (_DATA, "how the data is spread over clients: dirichlet, iid or shard"),
        "alpha": (_DATA, "Dirichlet concentration: smaller is more skewed"),
        "min_partition_size": (_DATA, "examples each client has at the least"),
        "shards_per_client": (_DATA, "shards of sorted labels a client gets (partition shard)"),
        "model": (_DATA, "cnn, linear, mlp or pkg.mod:attr"),
        "num_clients": (_FEDERATION, "registered clients"),
        "num_rounds": (_FEDERATION, "rounds to train"),
        "fraction": (_FEDERATION, "of the clients that train in a round"),
        "fraction_evaluate": (
            _FEDERATION,
            "of the clients that evaluate in a round; 0 is off, -1 as many as train",
        ),
        "min_clients": (_FEDERATION, "wait for as many before a round starts"),
        "strategy": (
            _FEDERATION,
            "fedavg, fedprox, fedavgm, fedadam, fedyogi, fedadagrad, fedmedian, fedtrimmedavg, krum, multikrum, "
            "bulyan or pkg.mod:attr",
        ),
        "aggregation": (_FEDERATION, "replaces the mean inside the FedAvg family"),
        "server_learning_rate": (_FEDERATION, "of fedavgm, fedadam, fedyogi and fedadagrad; 0 is the strategy's own"),
        "server_momentum": (_FEDERATION, "of fedavgm"),
        "num_malicious": (_FEDERATION, "hostile updates that krum, multikrum and bulyan assume"),
        "local_epochs": (_TRAINING, "epochs a client trains in a round"),
        "local_steps": (_TRAINING, "steps a round instead of epochs"),
        "batch_size": (_TRAINING, "examples a step"),
        "learning_rate": (_TRAINING, "of the clients' optimizer"),
        "optimizer": (_TRAINING, "sgd, adam or adamw"),
        "momentum": (_TRAINING, "of sgd"),
        "weight_decay": (_TRAINING, "L2 penalty of the clients' optimizer"),
        "proximal_mu": (_TRAINING, "FedProx's mu"),
        "device": (_TRAINING, "auto, cpu, cuda or mps"),
        "seed": (_ENGINE, "fixes partition, initial weights, batches and cohorts"),
        "engine": (_ENGINE, "local; flower and ray are not part of this version"),
        "workers": (_ENGINE, "worker processes; 0 is one a core"),
        "round_timeout_s": (_ENGINE, "seconds after which a phase ends without those who are missing"),
        "quorum": (_ENGINE, "share of good answers that ends a phase"),
        "signatures": (_TRUST, "sign and verify every update"),
        "min_valid": (_TRUST, "good updates below which a round keeps the old model"),
        "max_norm_factor": (_TRUST, "refuse an update this many times larger than the cohort's median; 0 is off"),
        "max_client_weight": (_TRUST, "any one client's share of the mean; 0 is off"),
        "key_dir": (_TRUST, "folder of the clients' keys"),
        "attack": (
            _TRUST,
            "make K clients hostile, as NAME:K: forge, replay, nan, scale, sign-flip, label-flip, shape, "
            "num-examples or silent",
        ),
        "output": (_OUTPUT, "folder that gets one folder a run"),
        "web_port": (_OUTPUT, "port of the dashboard, which is not part of this version"),
        "no_dashboard": (_OUTPUT, "do not start the dashboard; this version has none"),
    }
)


def _option(name: str, kind: type) -> inspect.Parameter:
    panel, text = _HELP[name]
    flag = f"--{key_of(name)}"
    default = getattr(RunConfig(), name)
    if kind is not bool and default not in ("", ()):
        text += f"; default: {default:g}" if isinstance(default, float) else f"; default: {default}"
    declarations = [f"{flag}/--no-{key_of(name)}"] if kind is bool and default else [flag]
    annotation: Any = list[str] if kind is tuple else kind
    option = typer.Option(*declarations, help=text, rich_help_panel=panel)
    annotated = Annotated[annotation | None, option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotated)


def with_run_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each setting; it gets them as ``settings``, only those that were given."""
    hints = typing.get_type_hints(RunConfig)
    options = [
        _option(field.name, typing.get_origin(hints[field.name]) or hints[field.name]) for field in fields(RunConfig)
    ]
    names = {option.name for option in options}
    own = list(inspect.signature(command, eval_str=True).parameters.values())

    @functools.wraps(command)
    def wrapper(**arguments: Any) -> None:
        given = {name: arguments[name] for name in names if arguments.get(name) not in (None, [])}
        settings = {
            key_of(name): ",".join(value) if isinstance(value, list) else value for name, value in given.items()
        }
        command(settings=settings, **{name: value for name, value in arguments.items() if name not in names})

    parameters = [parameter for parameter in own if parameter.name != "settings"] + options
    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return wrapper


def resolve(
    settings: Mapping[str, object], config_file: Path | None, environment: Mapping[str, str] = os.environ
) -> RunConfig:
    """Lay the options over the environment, over the file, over the defaults.

    Raises:
        ConfigError: A key does not exist or a value is out of range.
    """
    layers: list[tuple[str, Mapping[str, object]]] = []
    if config_file is not None:
        layers.append((str(config_file), load_toml(config_file)))
    layers.append(("the environment", from_environment(environment)))
    layers.append(("the options", settings))
    merged: dict[str, Any] = {}
    where_of: dict[str, str] = {}
    for where, values in layers:
        merged |= read_settings(values, where=where)
        where_of |= dict.fromkeys(values, where)
    try:
        return RunConfig(**merged)  # judged together: a file's min-clients may go with the option --num-clients
    except ConfigError as error:
        where = where_of.get(str(error).split(maxsplit=1)[0], "the options")
        raise ConfigError(f"{error} (in {where})" if where != "the options" else str(error)) from error


def resolve_resumed(stored: RunConfig, settings: Mapping[str, object]) -> RunConfig:
    """Lay the few settings that may change over those a run was started with.

    Raises:
        ConfigError: Another setting was given: the run would not be the same run.
    """
    resumed = from_mapping(settings, where="the options", base=stored)
    check_resumable(stored, resumed)
    return resumed
