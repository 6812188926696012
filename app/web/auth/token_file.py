"""The operator's token: made once, kept in a file that only its owner reads."""

from __future__ import annotations

import re
import secrets
from pathlib import Path

from app.control.dashboards import TOKEN_FILE
from app.web.auth.private_files import create_private, read_private
from shared.errors import KeyStoreError

_TOKEN_BYTES = 32
_FORM = re.compile(r"[A-Za-z0-9_-]{43,128}")


def operator_token(folder: Path) -> str:
    """Return the token of this state folder, and make it when there is none.

    Raises:
        KeyStoreError: The file is open to others, or holds something else.
    """
    path = folder / TOKEN_FILE
    try:
        return _checked(path, read_private(path))
    except FileNotFoundError:
        create_private(path, secrets.token_urlsafe(_TOKEN_BYTES).encode("ascii") + b"\n")
    return _checked(path, read_private(path))  # another process may have been first: what it wrote counts


def _checked(path: Path, content: bytes) -> str:
    text = content.decode("ascii", errors="replace").strip()
    if not _FORM.fullmatch(text):
        raise KeyStoreError(f"{path} holds no token; remove it, and a new one is made")
    return text
