"""``python -m shared.datasets.describe CONFIG.toml``: what a data set looks like, as one JSON object.

In a process of its own: to load data imports torch, which whoever supervises other processes does without.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from shared.config import RunConfig, from_mapping, load_toml
from shared.errors import ConstellationError, DatasetError

_LIMIT_S = 1800.0  # a data set may have to be downloaded first


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What must be the same for all who train one model, and how much there is."""

    input_shape: list[int]
    num_classes: int
    num_examples: int  # for training


def describe(config: RunConfig, folder: Path) -> Description:
    """Describe ``config.dataset`` in another process; ``folder`` takes its settings.

    Raises:
        DatasetError: It cannot be loaded.
    """
    path = folder / "describe.toml"
    path.write_text(config.to_toml(), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "shared.datasets.describe", str(path)],
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_LIMIT_S,
    )
    try:
        found = json.loads(done.stdout.strip().splitlines()[-1])
        if "error" in found:
            raise DatasetError(str(found["error"]))
        return Description(**found)
    except (ValueError, IndexError, TypeError) as error:
        raise DatasetError(f"dataset {config.dataset} cannot be loaded: {done.stderr.strip()[-300:]}") from error


def main(path: str) -> int:
    """Print the description, or the error."""
    from shared.datasets.federated import federate

    try:
        data = federate(from_mapping(load_toml(Path(path)), where=path))
        examples = sum(data.num_examples(index) for index in range(data.num_clients))
        found: dict[str, object] = {
            "input_shape": list(data.input_shape),
            "num_classes": data.num_classes,
            "num_examples": examples,
        }
    except ConstellationError as error:
        found = {"error": str(error)}
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
