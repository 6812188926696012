"""``run_client.py --check``: whether server, certificate, clock, data and disk are fine, before the client joins."""

from __future__ import annotations

import time
from dataclasses import dataclass

from client.joining import NotEnrolled, NotReached, fetch_authority, server_time
from constellation.client_home import ClientHome
from constellation.client_node import ClientOptions, check_schema, invitation_of
from monitor.heartbeat import disk_free_bytes
from monitor.words import size
from shared.config import RunConfig
from shared.datasets.describe import describe
from shared.errors import ConstellationError, UsageError
from shared.joining import Invitation

_MAX_CLOCK_S = 60.0  # Flower refuses a node whose clock is off by more than some minutes
_MIN_FREE_BYTES = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at."""

    name: str
    is_fine: bool
    says: str


def run_checks(home: ClientHome, options: ClientOptions) -> list[Check]:
    """Look at everything that can be looked at without joining."""
    home.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    checks: list[Check] = []
    remembered = home.remembered()
    try:
        invitation = invitation_of(options) or (remembered[0] if remembered else None)
    except UsageError as error:
        invitation = None
        checks.append(Check(name="invitation", is_fine=False, says=str(error)))
    if invitation is None:
        checks.append(_no_invitation(options))
    else:
        checks += _server(invitation)
    checks.append(_data(home, options))
    free = disk_free_bytes(home.folder)
    fine = free is None or free >= _MIN_FREE_BYTES
    checks.append(Check(name="disk", is_fine=fine, says=f"{size(free)} free" if free is not None else "not known"))
    return checks


def _no_invitation(options: ClientOptions) -> Check:
    return Check(
        name="server",
        is_fine=False,
        says=f"no invitation for {options.server_address}; get one there with `constellation token`",
    )


def _server(invitation: Invitation) -> list[Check]:
    """Look at the server, its certificate and its clock."""
    address = invitation.address
    try:
        authority = fetch_authority(invitation)
    except NotReached as error:
        return [Check(name="server", is_fine=False, says=f"{address} does not answer: {error}")]
    except UsageError as error:
        return [Check(name="certificate", is_fine=False, says=str(error))]
    checks = [Check(name="server", is_fine=True, says=f"{address} answers")]
    try:
        theirs = server_time(invitation, authority)
    except (NotReached, NotEnrolled, UsageError) as error:
        return [*checks, Check(name="certificate", is_fine=False, says=str(error))]
    checks.append(Check(name="certificate", is_fine=True, says="from the authority that the invitation names"))
    off = abs(time.time() - theirs) if theirs is not None else 0.0
    says = f"{off:.0f} s off the server's" if off > 1.5 else "as the server's"
    return [*checks, Check(name="clock", is_fine=off <= _MAX_CLOCK_S, says=says)]


def _data(home: ClientHome, options: ClientOptions) -> Check:
    """Load the data that this client would train on."""
    remembered = home.remembered()
    name = options.dataset or (remembered[1].dataset if remembered else "")
    if not name:
        return Check(name="data", is_fine=True, says="the server says which at enrollment")
    try:
        config = options.own_config if options.has_own_data else RunConfig(dataset=name, data_dir=options.data_dir)
        found = describe(config, home.folder)
        if options.has_own_data and remembered:
            check_schema(found, remembered[1])
    except ConstellationError as error:
        return Check(name="data", is_fine=False, says=str(error))
    shape = "x".join(map(str, found.input_shape))
    return Check(
        name="data", is_fine=True, says=f"{found.num_examples} examples of shape {shape}, {found.num_classes} classes"
    )
