"""Attaches files to the models that rounds end with."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select, update

from app.storage.checking import MAX_ROUND
from app.storage.objects import StoredModel
from app.storage.tables import MODELS
from shared.errors import StoreError


def attach_file(connection: Connection, run_key: int, number: int, stored: StoredModel, now: float) -> None:
    """Record that the model after a round has a file; a round that has not been heard of gets its row here.

    Raises:
        StoreError: The round ended with another model than the file's.
    """
    if not 0 <= number <= MAX_ROUND:
        raise StoreError(f"there is no round {number}")
    of_round = (MODELS.c.run_key == run_key, MODELS.c.server_round == number)
    known = connection.execute(select(MODELS.c.id, MODELS.c.digest).where(*of_round)).first()
    if known is not None and known.digest != stored.digest:
        raise StoreError(f"the file holds model {stored.digest}, but round {number} ended with {known.digest}")
    file = {"size_bytes": stored.size_bytes, "file_digest": stored.file_digest}
    if known is not None:
        connection.execute(update(MODELS).where(MODELS.c.id == known.id).values(**file))
        return
    parent = connection.execute(
        select(MODELS.c.digest).where(MODELS.c.run_key == run_key, MODELS.c.server_round == number - 1)
    ).scalar()
    row = {"run_key": run_key, "server_round": number, "digest": stored.digest, "parent": parent, "created_ts": now}
    connection.execute(insert(MODELS).values(**row, **file))
