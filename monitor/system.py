"""What a run ran on: versions, machine, memory. Reads metadata only, so that nothing heavy is imported."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

import psutil

PACKAGES = ("constellation-fl", "flwr", "torch", "torchvision", "numpy", "cryptography", "safetensors", "opacus", "ray")


def environment() -> dict[str, str]:
    """Describe this machine and the installed versions, ready to show; what cannot be found out is left out."""
    found = {
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        **{name: version for name in PACKAGES if (version := _version(name))},
        "Operating system": platform.platform(),
        "Processor": _processor(),
        "Cores": _cores(),
        "Memory": f"{psutil.virtual_memory().total / 2**30:.1f} GiB",
    }
    return {name: value for name, value in found.items() if value}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _processor() -> str:
    """Return the processor's name: Linux tells it in /proc/cpuinfo only."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Hardware"):
                return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _cores() -> str:
    """Count the cores this process may use, and the machine's when there are more."""
    total = psutil.cpu_count(logical=True) or 0
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else total
    return f"{usable} of {total}" if usable != total else str(total or "")
