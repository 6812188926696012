"""``constellation token`` and ``constellation status``: what one asks a server that is running on this machine."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from constellation.run_arguments import AsJson
from constellation.server_home import ServerHome, local_invitation, split_address
from shared.errors import UsageError
from shared.joining import Invitation, read_join_file

_DEFAULT_HOURS = 24.0


def token(
    *,
    address: Annotated[str, typer.Option("--server-address", help="HOST:PORT that clients reach this server by")] = "",
    hours: Annotated[float, typer.Option("--hours", help="how long it lets clients in")] = _DEFAULT_HOURS,
    uses: Annotated[int, typer.Option("--uses", help="how many clients it lets in")] = 1,
    state_dir: Annotated[Path | None, typer.Option("--state-dir", help="of the server")] = None,
    as_json: AsJson = False,
) -> None:
    """Make an invitation for clients on other machines; run this where the server runs."""
    from app.joining.book import Book

    if not 0 < hours <= 24 * 366:
        raise UsageError(f"hours must be above 0 and at most a year, got {hours:g}")
    if not 1 <= uses <= 100_000:
        raise UsageError(f"uses must be 1 to 100000, got {uses}")
    home = ServerHome.of(state_dir)
    running = read_join_file(home.facts)
    if running is None:
        raise UsageError(
            f"no server is running with the state folder {home.folder}; start it, or name another --state-dir"
        )
    if address:
        split_address(address)
    book = Book(home.book)
    try:
        secret = book.new_secret(expires=time.time() + hours * 3600, uses=uses)
    finally:
        book.close()
    invitation = replace(running, secret=secret, address=address or running.address)
    if as_json:
        typer.echo(json.dumps({"token": invitation.to_token(), "hours": hours, "uses": uses}))
        return
    typer.echo(invitation.to_token())


def status(
    *,
    server_address: Annotated[
        str, typer.Option("--server-address", help="HOST:PORT of the federation")
    ] = "127.0.0.1:8080",
    invitation_token: Annotated[str, typer.Option("--token", help="an invitation, for a server elsewhere")] = "",
    as_json: AsJson = False,
) -> None:
    """Show the clients, the run, its round and what it waits for."""
    from client.joining import NotReached, fetch_authority, fetch_status

    invitation = (
        replace(Invitation.from_token(invitation_token), address=server_address)
        if invitation_token
        else local_invitation(server_address)
    )
    if invitation is None:
        raise UsageError(f"no server of yours listens on {server_address}; start it, or give --token for one elsewhere")
    try:
        found = fetch_status(invitation, fetch_authority(invitation))
    except NotReached as error:
        raise UsageError(f"{server_address} does not answer: {error}") from error
    if as_json:
        typer.echo(json.dumps(found))
        return
    waiting = found.get("waiting_for")
    lines = [
        f"run      {found.get('run')}: {found.get('state')}, round {found.get('round')} of {found.get('num_rounds')}",
        f"clients  {', '.join(map(str, found.get('clients') or [])) or 'none yet'}",  # type: ignore[call-overload]
    ]
    if waiting:
        lines.append(f"waits    {', '.join(map(str, waiting)) if isinstance(waiting, list) else waiting}")
    for line in lines:
        typer.echo(line)
