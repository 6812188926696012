"""``run_server.py``: a federation for clients on other machines, supervised from its first start to its last round."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from constellation.beside import dashboard_beside
from constellation.command_log import set_up_logging
from constellation.exit_codes import INTERRUPTED
from constellation.options import resolve, resolve_resumed
from constellation.server_home import ServerHome
from shared.config import RunConfig
from shared.errors import ConfigError

_log = logging.getLogger("constellation.server")
_MAX_STARTS_WITHOUT_PROGRESS = 3  # of SuperLink and ServerApp, between two closed rounds
_LOOK_S = 0.3  # between looks at who has come
_FOREVER = 2.0**53  # of a token's end: seconds that a float still tells apart


def server(
    settings: dict[str, object],
    *,
    config_file: Annotated[Path | None, typer.Option("--config", help="TOML file of settings")] = None,
    host: Annotated[str, typer.Option("--host", help="address to listen on; 0.0.0.0 is every one")] = "127.0.0.1",
    fl_port: Annotated[int, typer.Option("--fl-port", help="port of the federation")] = 8080,
    enroll_port: Annotated[int, typer.Option("--enroll-port", help="port that clients enroll at; 0 is any")] = 0,
    name: Annotated[list[str] | None, typer.Option("--name", help="another name clients reach this server by")] = None,
    state_dir: Annotated[Path | None, typer.Option("--state-dir", help="keys, certificates, clients")] = None,
    tls_certificate: Annotated[Path | None, typer.Option("--tls-certificate", help="use this one (PEM)")] = None,
    tls_key: Annotated[Path | None, typer.Option("--tls-key", help="its private key (PEM)")] = None,
    tls_authority: Annotated[Path | None, typer.Option("--tls-authority", help="whom it comes from (PEM)")] = None,
    resume: Annotated[Path | None, typer.Option("--resume", help="go on with the run in this folder")] = None,
    log_level: Annotated[str, typer.Option("--log-level", help="debug, info, warning, error")] = "info",
    log_file: Annotated[Path | None, typer.Option("--log-file", help="write the log there")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object at the end and nothing else")] = False,
) -> None:
    """Start everything, wait for clients, train, and end everything."""
    from constellation.folders import open_run_dir
    from constellation.serving import Listening, serve

    if resume and config_file:
        raise ConfigError("config cannot be given with --resume: the run goes on with the settings it was started with")
    if resume:
        config = resolve_resumed(open_run_dir(resume), settings)
    else:
        config = replace(resolve(settings, config_file), engine="flower")
    set_up_logging(log_level, log_file)
    for chatty in ("httpx", "alembic"):  # each call, each plug-in
        logging.getLogger(chatty).setLevel(logging.WARNING)
    listening = Listening(
        host=host,
        fl_port=fl_port,
        enroll_port=enroll_port,
        names=tuple(name or ()),
        given_tls=_given(tls_certificate, tls_key, tls_authority),
    )
    console = Console(stderr=True, highlight=False)
    output = resume.resolve().parent if resume else Path(config.output)
    is_wanted = "web-port" in settings or config.web_port != RunConfig().web_port
    with dashboard_beside(config, output, console, is_port_wanted=is_wanted, is_supervised=False) as beside:
        beside.introduce()
        result = serve(config, ServerHome.of(state_dir), listening, beside.reporting, resume)
        if as_json:
            typer.echo(json.dumps(result.to_json()))
        else:
            typer.echo(f"report: {result.output / 'report.html'}")
            if result.state != "interrupted":
                beside.stay()
    if result.state == "interrupted":
        raise typer.Exit(INTERRUPTED)


def _given(*files: Path | None) -> tuple[Path, Path, Path] | None:
    """Take a certificate that was given whole, or none.

    Raises:
        ConfigError: Something of it is missing.
    """
    found = [path for path in files if path is not None]
    if not found:
        return None
    if len(found) != len(files):
        raise ConfigError(
            "tls-certificate, tls-key and tls-authority go together; give all three, or none to have one made"
        )
    for path in found:
        if not path.is_file():
            raise ConfigError(f"tls file {path} is not there; name the PEM file")
    return found[0].absolute(), found[1].absolute(), found[2].absolute()
