"""Who works on a run: a lock on its folder, which the kernel gives back however the process ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.errors import UsageError

if sys.platform != "win32":
    import fcntl


@contextmanager
def held(run_dir: Path) -> Iterator[None]:
    """Keep other processes from working on the run; where a file system has no locks, nothing is kept.

    Enter this after workers were forked: a copy of the descriptor would hold the lock as long as they live.

    Raises:
        UsageError: Another process works on it.
    """
    if sys.platform == "win32":
        yield
        return
    descriptor = os.open(run_dir, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"run {run_dir} is under way in another process; wait for it or stop it first") from None
        except OSError:  # a file system without locks: who starts a run twice there is not kept from it
            pass
        yield
    finally:
        os.close(descriptor)


def is_held(run_dir: Path) -> bool | None:
    """Tell whether a process works on the run; None where that cannot be known."""
    if sys.platform == "win32":
        return None
    try:
        descriptor = os.open(run_dir, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    else:
        return False
    finally:
        os.close(descriptor)
