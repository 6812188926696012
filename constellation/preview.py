"""``constellation preview`` (hidden): computes previews for the dashboard, which itself imports no torch.

One JSON object a line comes in, one goes out, until standard input ends. The partition is the run's own: the same
``federate`` from the same settings.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
from collections.abc import Mapping
from typing import Any, BinaryIO

from shared.config import from_mapping
from shared.errors import ConfigError, ConstellationError, DatasetError, PluginError

MAX_CLIENTS = 200  # histograms; sizes are of all
MEMORY_BYTES = 8 * 1024**3  # of address space: a data set that needs more must not take the machine with it
_NICENESS = 5  # a run under way comes first
_KINDS: Mapping[type[ConstellationError], str] = {ConfigError: "config", DatasetError: "dataset", PluginError: "plugin"}


def preview() -> None:
    """Answer questions until there are no more."""
    _limit_this_process()
    answers = _own_stdout()
    for line in sys.stdin.buffer:
        answers.write(json.dumps(answer_to(line)).encode("ascii") + b"\n")
        answers.flush()


def answer_to(line: bytes) -> Mapping[str, object]:
    """Answer one question: ``{"answer": {...}}``, or ``{"kind", "error"}`` with a sentence."""
    try:
        question = json.loads(line)
        if question["what"] == "partition":
            return {"answer": partition_of(question["config"])}
        if question["what"] == "epsilon":
            return {"answer": epsilon_of(question["query"])}
        return {"kind": "failed", "error": "there is no such preview"}
    except ConstellationError as error:
        return {"kind": _KINDS.get(type(error), "failed"), "error": str(error)}
    except MemoryError:
        return {"kind": "failed", "error": f"the preview needs more than {MEMORY_BYTES // 2**30} GiB of memory"}
    except Exception as error:  # noqa: BLE001 - the outer loop: whatever a question does, the next one is answered
        return {"kind": "failed", "error": f"the preview failed ({type(error).__name__}: {error})"}


def partition_of(config: Mapping[str, object]) -> dict[str, object]:
    """Spread the data as a run with these settings would.

    Raises:
        ConfigError: A setting cannot be used.
        DatasetError: The data cannot be loaded or is too small.
        PluginError: A person's own data is not what it must be.
    """
    from constellation.names import client_id_of
    from shared.datasets.federated import federate

    data = federate(from_mapping(config, where="the preview"))
    sizes = [data.num_examples(index) for index in range(data.num_clients)]
    shown = range(min(data.num_clients, MAX_CLIENTS))
    return {
        "class_names": list(data.class_names),
        "histograms": {client_id_of(index): data.histogram(index) for index in shown},
        "num_examples": sum(sizes),
        "num_clients": data.num_clients,
        "smallest": min(sizes),
        "median": statistics.median(sizes),
        "largest": max(sizes),
    }


def epsilon_of(query: Mapping[str, object]) -> dict[str, object]:
    """Estimate what a run would spend of its privacy.

    Raises:
        ConfigError: A value is missing, of the wrong type or out of range.
    """
    from dataclasses import asdict

    from shared.privacy.accounting import estimate_privacy

    return asdict(estimate_privacy(**_numbers(query)))


def _numbers(query: Mapping[str, object]) -> dict[str, Any]:
    """Check the types; what the values may be is the accountant's to say."""
    whole = ("num_examples", "batch_size", "local_epochs", "local_steps", "num_rounds")
    numbers: dict[str, Any] = {}
    for name, value in query.items():
        key = name.replace("_", "-")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(f"{key} must be a number, got {value!r}")
        if name in whole and value != int(value):
            raise ConfigError(f"{key} must be a whole number, got {value!r}")
        numbers[name] = int(value) if name in whole else float(value)
    return numbers


def _own_stdout() -> BinaryIO:
    """Keep the answers' stream to ourselves: what a person's own code prints goes to stderr."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return answers


def _limit_this_process() -> None:
    if sys.platform == "win32":
        return
    import resource

    os.nice(_NICENESS)
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = MEMORY_BYTES if hard == resource.RLIM_INFINITY else min(MEMORY_BYTES, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
