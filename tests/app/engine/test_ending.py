"""How a run ended is its last event, whatever happened."""

from collections.abc import Callable
from typing import cast

import numpy as np
import pytest
from flwr.app import ArrayRecord

from app.engine.ending import run_to_end
from app.engine.exchange import StopRequested
from app.engine.rounds import RoundLoop
from shared.errors import RunFailed
from shared.events import Event, RunEnded
from shared.records import to_array_record


class Loop:
    """Closes two rounds and then does what the test says."""

    def __init__(self, then: Callable[[], None]) -> None:
        self.arrays = ArrayRecord()
        self.rounds_completed = 0
        self.ended_because = ""
        self._then = then

    def run(self, arrays: ArrayRecord, first_round: int) -> ArrayRecord:
        self.arrays, self.rounds_completed = arrays, first_round + 1
        self._then()
        return arrays


def raising(error: BaseException) -> Callable[[], None]:
    def then() -> None:
        raise error

    return then


def end(then: Callable[[], None], events: list[Event]) -> ArrayRecord:
    times = iter([10.0, 13.5])
    model = to_array_record({"w": np.ones(1)})
    return run_to_end(cast(RoundLoop, Loop(then)), model, 1, events.append, clock=lambda: next(times))


@pytest.mark.parametrize(
    ("then", "state"),
    [(lambda: None, "completed"), (raising(StopRequested()), "stopped"), (raising(KeyboardInterrupt()), "interrupted")],
)
def test_a_run_that_was_not_hurt_gives_its_model(then: Callable[[], None], state: str) -> None:
    events: list[Event] = []
    assert list(end(then, events)) == ["w"]
    assert events == [RunEnded(state=state, rounds_completed=2, seconds=3.5)]


@pytest.mark.parametrize(
    ("error", "state", "told"),
    [
        (RunFailed("the disk is full"), "failed", "the disk is full"),
        (ZeroDivisionError("in somebody's strategy"), "failed", "ZeroDivisionError: in somebody's strategy"),
        (SystemExit(0), "interrupted", None),
    ],
)
def test_a_run_that_cannot_go_on_says_why_and_raises(error: BaseException, state: str, told: str | None) -> None:
    events: list[Event] = []
    with pytest.raises(type(error)):
        end(raising(error), events)
    assert events == [RunEnded(state=state, rounds_completed=2, seconds=3.5, error=told)]
