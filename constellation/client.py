"""``run_client.py``: one client on this machine, with its own keys, for as long as the federation wants it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shared.errors import UsageError


def client(
    *,
    server_address: Annotated[
        str, typer.Option("--server-address", help="HOST:PORT of the federation")
    ] = "127.0.0.1:8080",
    client_id: Annotated[str, typer.Option("--client-id", help="how this client is called")] = "",
    partition_id: Annotated[
        int | None, typer.Option("--partition-id", help="part of a shared data set; default: one that is free")
    ] = None,
    num_partitions: Annotated[
        int | None, typer.Option("--num-partitions", help="how many parts; the server decides, this only checks")
    ] = None,
    dataset: Annotated[
        str, typer.Option("--dataset", help="the federation's, or your own: folder:PATH, npz:PATH or csv:PATH")
    ] = "",
    data_dir: Annotated[str, typer.Option("--data-dir", help="where shared data sets lie on this machine")] = "",
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", help="examples a step, where memory is short")
    ] = None,
    token: Annotated[str, typer.Option("--token", help="the invitation: see `constellation token`")] = "",
    state_dir: Annotated[Path | None, typer.Option("--state-dir", help="this client's keys and memory")] = None,
    enable_mesh: Annotated[bool, typer.Option("--enable-mesh", help="not part of this version")] = False,
    mesh_peers: Annotated[str, typer.Option("--mesh-peers", help="not part of this version")] = "",
    stock_supernode: Annotated[
        bool, typer.Option("--stock-supernode", help="run Flower's own SuperNode instead of the resident one")
    ] = False,
    allow_plugins: Annotated[
        bool, typer.Option("--allow-plugins", help="import models and data sets that the server names as pkg.mod:attr")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="only say whether server, certificate, clock, data and disk are fine")
    ] = False,
    log_level: Annotated[str, typer.Option("--log-level", help="debug, info, warning, error")] = "info",
) -> None:
    """Enroll if need be, then train for the federation until SIGTERM or Ctrl-C."""
    from constellation.client_checks import run_checks
    from constellation.client_home import ClientHome
    from constellation.client_node import ClientOptions, run_client
    from constellation.command_log import set_up_logging

    if enable_mesh or mesh_peers:
        raise UsageError("enable-mesh is not part of this version; leave it out")
    if not client_id:
        raise UsageError("client-id is missing; name this client, as --client-id site-a")
    set_up_logging(log_level, None)
    options = ClientOptions(
        server_address=server_address,
        partition_id=-1 if partition_id is None else partition_id,
        num_partitions=num_partitions,
        dataset=dataset,
        data_dir=data_dir,
        batch_size=batch_size,
        token=token,
        stock_supernode=stock_supernode,
        allow_plugins=allow_plugins,
        log_level=log_level,
    )
    home = ClientHome.of(state_dir, client_id)
    if check:
        checks = run_checks(home, options)
        for found in checks:
            typer.echo(f"{'ok  ' if found.is_fine else 'FAIL'}  {found.name}: {found.says}")
        if not all(found.is_fine for found in checks):
            raise typer.Exit(1)
        return
    run_client(home, options)
