"""A run that was asked to stop: each measure comes once, in order, and killing goes on until it is gone."""

from app.control.stopping import Grace, Measure, Stopping

GRACE = Grace(asked_s=20, interrupted_s=10, terminated_s=5)


def test_measures_come_in_order_after_their_grace() -> None:
    stopping = Stopping(100.0, GRACE)
    found = {now: stopping.due(now) for now in (100.0, 119.9, 120.0, 121.0, 130.0, 134.9, 135.0, 136.0)}
    assert found == {
        100.0: None, 119.9: None, 120.0: Measure.INTERRUPT, 121.0: None, 130.0: Measure.TERMINATE, 134.9: None,
        135.0: Measure.KILL, 136.0: Measure.KILL,
    }  # fmt: skip


def test_a_run_that_cannot_be_asked_is_interrupted_at_once() -> None:
    assert Stopping(0.0, GRACE, is_asked=False).due(0.0) is Measure.INTERRUPT


def test_a_late_look_takes_the_strongest_measure() -> None:
    stopping = Stopping(0.0, GRACE)
    assert stopping.seconds_to_force(5.0) == 30.0
    assert stopping.due(1_000.0) is Measure.KILL
    assert stopping.seconds_to_force(1_000.0) == 0.0
