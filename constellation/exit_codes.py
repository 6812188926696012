"""What the command tells the shell; bad usage (2) and failure (1) are the errors' own."""

from __future__ import annotations

INTERRUPTED = 130  # Ctrl-C, as shells count it
