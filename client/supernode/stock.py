"""Flower's own SuperNode in place of ours: asked for, or because the installed Flower is not the tested one."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path


def stock_command(arguments: Sequence[str]) -> list[str]:
    """Return the command that starts Flower's own SuperNode of this environment."""
    return [str(Path(sys.executable).with_name("flower-supernode")), *arguments]


def become_stock(arguments: Sequence[str]) -> None:
    """Replace this process by Flower's own SuperNode; does not return."""
    command = stock_command(arguments)
    folder = str(Path(sys.executable).parent)  # it starts its parts by their names
    path = os.pathsep.join([folder, os.environ.get("PATH", "")])
    os.execve(command[0], command, {**os.environ, "PATH": path})  # noqa: S606 - a program of this environment
