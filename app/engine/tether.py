"""``python -m app.engine.tether MARK``: waits until whoever started it is gone, then ends the family with that mark.

The kernel closes our standard input when that process ends, however it does; nobody has to ask whether it lives.
"""

from __future__ import annotations

import signal
import sys

from app.engine.processes import sweep


def main() -> int:
    """Wait for the end of the input, then sweep."""
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)  # it outlives those it watches over
    sys.stdin.buffer.read()
    sweep(sys.argv[1])
    return 0


if __name__ == "__main__":
    sys.exit(main())
