"""Runs a loop to its end, whatever that is, and says so: the last event of a run is how it ended."""

from __future__ import annotations

import time
from collections.abc import Callable

from flwr.app import ArrayRecord

from app.engine.exchange import Emit, StopRequested
from app.engine.rounds import RoundLoop
from shared.errors import ConstellationError
from shared.events import RunEnded


def run_to_end(
    loop: RoundLoop,
    arrays: ArrayRecord,
    first_round: int,
    emit: Emit,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> ArrayRecord:
    """Run the rounds and return the global model, also of a run that was stopped or interrupted by Ctrl-C.

    Args:
        loop: What runs the rounds.
        arrays: The global model before ``first_round``.
        first_round: From 1; above that the run goes on from a checkpoint.
        emit: Where the last event goes.
        clock: Seconds.

    Raises:
        ConstellationError: The federation cannot go on. Whatever else is raised is a fault in somebody's code.
    """
    start = clock()
    state, error = "failed", None
    try:
        loop.run(arrays, first_round)
        state = "completed"
    except StopRequested:
        state = "stopped"
    except KeyboardInterrupt:
        state = "interrupted"
    except SystemExit:  # Flower's ServerApp process turns SIGTERM (`flwr stop`) into this
        state = "interrupted"
        raise
    except ConstellationError as failure:
        error = str(failure)
        raise
    except Exception as failure:
        error = f"{type(failure).__name__}: {failure}"
        raise
    finally:
        emit(
            RunEnded(
                state=state,
                rounds_completed=loop.rounds_completed,
                seconds=clock() - start,
                error=error,
                reason=loop.ended_because or None,
            )
        )
    return loop.arrays
