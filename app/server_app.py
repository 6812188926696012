"""The Flower ServerApp: what ``flwr run`` loads beside a stock SuperLink.

Strategies, verification, the round loop and the run's folder are those of a simulation; the clients are SuperNodes.
"""

from __future__ import annotations

import logging

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from app.deployment import run_deployed
from shared.errors import ConstellationError

_log = logging.getLogger("flwr")  # Flower's own, which a ServerApp's process sends to `flwr log`

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the rounds that the run config asks for; a run that cannot go on is ``failed`` for Flower too.

    Raises:
        ConstellationError: Says in one sentence why; it is logged before Flower logs where.
    """
    try:
        run_deployed(grid, context.run_config)
    except ConstellationError as error:
        _log.error("%s", error)
        raise
