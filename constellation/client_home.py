"""Where a client keeps what outlives it: its keys, whom it trusts, and what the server told it at enrollment."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from constellation.folders import user_data_dir
from shared.crypto.keys import is_valid_id
from shared.errors import UsageError
from shared.joining import EnrollAnswer, Invitation, parse


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientHome:
    """The folder of one client."""

    folder: Path
    client_id: str

    @classmethod
    def of(cls, state_dir: Path | None, client_id: str) -> ClientHome:
        """Use the folder that was named, or the user's own for clients of this id.

        Raises:
            UsageError: The id cannot be part of a file's name.
        """
        if not is_valid_id(client_id):
            raise UsageError(f"client-id must be 1 to 64 letters, digits, '.', '_' or '-', got {client_id!r}")
        folder = (state_dir or user_data_dir() / "clients" / client_id).absolute()
        return cls(folder=folder, client_id=client_id)

    @property
    def node_key(self) -> Path:
        """Of the key its calls are signed with."""
        return self.folder / "node-key.pem"

    @property
    def keys(self) -> Path:
        """Of the key its updates are signed with, and the server's public one."""
        return self.folder / "keys"

    @property
    def node(self) -> Path:
        """Of the SuperNode's own memory."""
        return self.folder / "node"

    @property
    def authority(self) -> Path:
        """The certificate that the server's must come from."""
        return self.folder / "ca.pem"

    def remember(self, invitation: Invitation, answer: EnrollAnswer) -> None:
        """Keep what was agreed, readable by its owner only."""
        facts = {"invitation": asdict(invitation), "answer": asdict(answer)}
        path = self.folder / "enrolled.json"
        fresh = path.with_name(f".{path.name}-{os.getpid()}")
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            json.dump(facts, file)
        fresh.replace(path)

    def remembered(self) -> tuple[Invitation, EnrollAnswer] | None:
        """Return what was agreed; None when nothing was, or the file is damaged: the client then enrolls again."""
        try:
            facts = json.loads((self.folder / "enrolled.json").read_text(encoding="utf-8"))
            invitation = parse(Invitation, json.dumps(facts["invitation"]))
            return invitation, parse(EnrollAnswer, json.dumps(facts["answer"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None
