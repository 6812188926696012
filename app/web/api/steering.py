"""The supervisor, or the plain word that there is none."""

from __future__ import annotations

from app.web.context import services
from app.web.services import Supervisor
from shared.errors import Conflict


def supervisor() -> Supervisor:
    """Return what starts runs.

    Raises:
        Conflict: This dashboard only shows runs.
    """
    found = services().supervisor
    if found is None:
        raise Conflict("this dashboard only shows runs; start it with `constellation dashboard` to steer them too")
    return found
