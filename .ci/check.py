"""The one list of checks: the Makefile, the README's test command and so CI all come here.

    python .ci/check.py static|fast|all|slow

It uses the Python it is started with, wherever that lives, and needs neither make nor an activated environment.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON = sys.executable
# Two processes a machine of two cores; more than four only add memory: each imports torch.
PYTEST = (PYTHON, "-m", "pytest", "--strict-skips", "-n", "logical", "--maxprocesses", "4", "--dist", "worksteal")

STATIC = (
    (PYTHON, "-m", "ruff", "format", "--check", "."),
    (PYTHON, "-m", "ruff", "check", "."),
    (PYTHON, "-m", "mypy"),
    (PYTHON, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"),
)
WHOLE_RUNS = ("benchmarks", "browser", "constellation", "e2e")
LEVELS: dict[str, tuple[tuple[str, ...], ...]] = {
    "static": STATIC,
    # Without what trains whole federations.
    "fast": ((*PYTEST, "-m", "not slow and not e2e", *(f"--ignore=tests/{name}" for name in WHOLE_RUNS)),),
    "all": (*STATIC, (*PYTEST, "-m", "not slow")),
    # One at a time: slow tests measure memory and start many processes of their own.
    "slow": ((PYTHON, "-m", "pytest", "--strict-skips", "-m", "slow"),),
}


def main() -> int:
    """Run one level's commands in order and stop at the first that fails."""
    if len(sys.argv) != 2 or sys.argv[1] not in LEVELS:
        print(f"usage: python .ci/check.py {'|'.join(LEVELS)}", file=sys.stderr)
        return 2
    for command in LEVELS[sys.argv[1]]:
        print("$ " + " ".join(["python", *command[1:]]), flush=True)
        code = subprocess.run(command, cwd=ROOT, check=False).returncode
        if code != 0:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
