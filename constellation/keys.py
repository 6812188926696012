"""``constellation keys``: make a client's key, show what is there, say who may sign. No private part is ever shown."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from constellation import key_ring
from constellation.folders import key_dir_of
from constellation.run_arguments import AsJson, local_settings
from monitor.words import count, plural
from shared.crypto.keys import DEFAULT_KEY_BITS, SERVER_ID, KeyStore, key_id, load_public_key
from shared.errors import UsageError

PASSWORD_VARIABLE = "CONSTELLATION_KEY_PASSWORD"  # noqa: S105 - the variable's name
_MAX_KEY_BITS = 8192  # more takes minutes to make, and seconds a signature

KeyDir = Annotated[
    Path | None, typer.Option("--key-dir", help="folder of keys; default: that of simulated clients on this machine")
]
Directory = Annotated[Path, typer.Option("--directory", help="the server's folder of enrolled keys")]
ClientId = Annotated[str, typer.Argument(metavar="CLIENT_ID", help="1 to 64 letters, digits, '.', '_' or '-'")]


def register(app: typer.Typer) -> None:
    """Give ``app`` the command group ``keys``."""
    group = typer.Typer(name="keys", help="Show, make, enroll and revoke signing keys.", no_args_is_help=True)
    group.command("show", help="Show the keys of a folder: fingerprints, sizes, who may sign.")(show)
    group.command("make", help="Make a client's key; one that is there already is kept.")(make)
    group.command("enroll", help="Let a client's key sign.")(enroll)
    group.command("revoke", help="Refuse a client's key from now on.")(revoke)
    app.add_typer(group)


def show(key_dir: KeyDir = None, as_json: AsJson = False) -> None:
    """Show the keys of a folder."""
    folder = _folder_of(key_dir)
    keys = key_ring.read_keys(folder)
    if as_json:
        typer.echo(json.dumps({"key_dir": str(folder), "keys": [key.to_json() for key in keys]}))
        return
    typer.echo(f"{plural(len(keys), 'key')} in {folder}")
    for line in (line for key in keys for line in _lines(key)):
        typer.echo(line)


def make(
    client_id: ClientId,
    key_dir: KeyDir = None,
    bits: Annotated[int, typer.Option("--bits", help="size of a new key")] = DEFAULT_KEY_BITS,
    password_file: Annotated[
        Path | None, typer.Option("--password-file", help=f"file with the key's password; or set {PASSWORD_VARIABLE}")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a client's key, readable by its owner only."""
    if bits > _MAX_KEY_BITS:
        raise UsageError(f"--bits must be at most {_MAX_KEY_BITS}, got {bits}; {DEFAULT_KEY_BITS} is strong enough")
    store = KeyStore(_folder_of(key_dir), password=read_password(password_file), key_bits=bits)
    was_there = store.private_path(client_id).exists()
    key = store.load_or_create(client_id).public_key()
    public_path = store.public_path(client_id)
    if as_json:
        facts = {"client_id": client_id, "key_id": key_id(key), "bits": key.key_size, "is_new": not was_there}
        typer.echo(json.dumps({**facts, "public_key": str(public_path)}))
        return
    for line in (
        f"{'kept the key that is there' if was_there else 'made a key'} of {client_id}: RSA, {key.key_size} bits",
        f"fingerprint  {key_id(key)}",
        f"private key  {store.private_path(client_id)} (never give it away)",
        f"public key   {public_path}",
        f"give {public_path.name} to each client, beside its own key"
        if client_id == SERVER_ID
        else f"on the server: constellation keys enroll {public_path.name} --client-id {client_id} --directory DIR",
    ):
        typer.echo(line)


def enroll(
    public_key_file: Annotated[Path, typer.Argument(metavar="PUBLIC_KEY_FILE", help="the client's NAME.pub.pem")],
    client_id: Annotated[str, typer.Option("--client-id", help="whose key it is")],
    directory: Directory,
    max_examples: Annotated[
        int | None, typer.Option("--max-examples", help="the client never has more training examples than this")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="in place of another key, or of one that was revoked")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Let a client's key sign; compare the fingerprint with the client's over another channel."""
    key = load_public_key(public_key_file)
    key_ring.enroll(directory, client_id, key, max_examples=max_examples, is_replacing=replace)
    if as_json:
        facts = {"client_id": client_id, "key_id": key_id(key), "bits": key.key_size, "max_examples": max_examples}
        typer.echo(json.dumps({**facts, "directory": str(directory)}))
        return
    bound = f", at most {count(max_examples)} examples" if max_examples is not None else ""
    typer.echo(f"{client_id} may sign with the key {key_id(key)}{bound}")
    typer.echo("compare this fingerprint with the one the client sees, over another channel than the file came by")


def revoke(client_id: ClientId, directory: Directory, as_json: AsJson = False) -> None:
    """Refuse a client's key from now on, in runs under way too."""
    name = key_ring.revoke(directory, client_id)
    if as_json:
        typer.echo(json.dumps({"client_id": client_id, "key_id": name, "revoked": True, "directory": str(directory)}))
    else:
        typer.echo(f"{client_id} may not sign any more with the key {name}")


def read_password(path: Path | None) -> bytes | None:
    """Read a key's password from a file, or from the environment; None when neither is given.

    Raises:
        UsageError: The file cannot be read, is readable by others, or is empty.
    """
    if path is None:
        return os.environ.get(PASSWORD_VARIABLE, "").encode() or None
    try:
        with path.open("rb") as file:
            if os.name == "posix" and os.fstat(file.fileno()).st_mode & 0o077:
                raise UsageError(f"password file {path} can be read by others; run: chmod 600 {path}")
            password = file.read(4096).splitlines()
    except OSError as error:
        raise UsageError(f"password file {path} cannot be read: {error.strerror}; name another") from error
    if not password or not password[0]:
        raise UsageError(f"password file {path} is empty; write the password on its first line")
    return password[0]


def _folder_of(key_dir: Path | None) -> Path:
    return key_dir if key_dir is not None else key_dir_of(local_settings())


def _lines(key: key_ring.KeyFacts) -> list[str]:
    """Describe a key; its fingerprint has a line of its own, so that two can be compared."""
    facts = [f"RSA, {key.bits} bits"] * bool(key.bits) + ["private key here"] * key.has_private
    facts.append("the federation's own" if key.status == key_ring.SERVER else f"may sign: {key.status}")
    facts += [f"at most {count(key.max_examples)} examples"] * (key.max_examples is not None)
    return [f"{key.client_id}: {', '.join(facts)}"] + [f"    {key.key_id}"] * bool(key.key_id)
