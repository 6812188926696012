"""Where models are trained, and what a worker on a CPU sets up once."""

from __future__ import annotations

import ctypes
import sys

import torch

from shared.errors import ConfigError

# mallopt(3). glibc gives blocks above the mmap threshold back to the kernel at each free, and the top of the heap
# above the trim threshold too: activations of a few MB then cost a page fault for every 4 KiB, at every batch.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_KEEP_BYTES = 256 * 1024 * 1024  # of freed memory a worker keeps; above any activation of our models at batch 500
_MAX_MMAP_THRESHOLD = 32 * 1024 * 1024  # glibc's HEAP_MAX_SIZE / 2 on 64 bits: it refuses more
_KINDS = ("cuda", "mps", "cpu")  # in order of preference


def choose_device(name: str) -> torch.device:
    """Choose CUDA, then MPS, then the CPU for ``"auto"``; otherwise the named one.

    Raises:
        ConfigError: The named device is not on this machine.
    """
    if name == "auto":
        return torch.device(next(kind for kind in _KINDS if _is_there(kind)))
    if name not in _KINDS:
        raise ConfigError(f"device must be one of auto, {', '.join(_KINDS)}, got {name!r}")
    if not _is_there(name):
        raise ConfigError(f"device {name!r} is not there on this machine; use device auto or cpu")
    return torch.device(name)


def _is_there(kind: str) -> bool:
    if kind == "cuda":
        return torch.cuda.is_available()
    return kind == "cpu" or torch.backends.mps.is_available()


def tune_allocator() -> bool:
    """Make glibc keep freed memory instead of giving it back to the kernel after each batch.

    Call it once in each worker process, before training. It changes nothing but speed and resident memory.

    Returns:
        Whether both thresholds were accepted; False where the C library is not glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    accepted = [mallopt(_M_MMAP_THRESHOLD, _MAX_MMAP_THRESHOLD), mallopt(_M_TRIM_THRESHOLD, _KEEP_BYTES)]
    return all(accepted)
