"""Which settings a run may go on with, and that it keeps them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from app.engine.control import Desired
from app.run_folder import open_run_dir
from constellation.resuming import check_resumable
from constellation.training import run
from shared.config import RunConfig
from shared.errors import ConfigError
from shared.events import Envelope, RoundClosed

Small = Callable[..., RunConfig]


class StopAtOnce:
    """Stops a run after its first round: a sink that sees it, and a control that says so."""

    def __init__(self) -> None:
        self._is_over = False

    def write(self, envelope: Envelope) -> None:
        self._is_over = self._is_over or isinstance(envelope.event, RoundClosed)

    def close(self) -> None:
        pass

    def desired(self) -> Desired:
        return Desired.STOP if self._is_over else Desired.RUN


def test_what_decides_the_result_cannot_change() -> None:
    check_resumable(RunConfig(), RunConfig(num_rounds=50, workers=1, round_timeout_s=3.0, output="elsewhere"))
    for changes in ({"seed": 3}, {"learning_rate": 0.5}, {"strategy": "fedadam"}, {"signatures": False}):
        with pytest.raises(ConfigError, match="cannot change when a run goes on"):
            check_resumable(RunConfig(), replace(RunConfig(), **changes))


def test_a_notebook_cannot_change_it_either(small: Small) -> None:
    done = run(small(num_rounds=1))
    with pytest.raises(ConfigError, match="seed cannot change"):
        run(small(num_rounds=2, seed=7), resume=done.output)
    assert run(small(num_rounds=2), resume=done.output).rounds_completed == 2


def test_a_run_that_was_made_longer_stays_longer_when_it_goes_on_again(small: Small) -> None:
    config = small(num_rounds=1)
    done = run(config)
    stop = StopAtOnce()
    stopped = run(replace(config, num_rounds=3), resume=done.output, control=stop, sinks=[stop])
    assert (stopped.state, stopped.rounds_completed) == ("stopped", 2)
    assert open_run_dir(Path(done.output)).num_rounds == 3
    resumed = run(resume=done.output)
    assert (resumed.state, resumed.rounds_completed) == ("completed", 3)
