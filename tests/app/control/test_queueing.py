"""The queue: free places are filled in order, and each run that waits is told why."""

from app.control.queueing import HELD, Waiting, plan


def queue(*names: str) -> list[Waiting]:
    return [Waiting(run_id=name.strip("*"), is_held=name.endswith("*")) for name in names]


def test_one_run_at_a_time() -> None:
    decided = plan(queue("a", "b", "c"), [], 1)
    assert decided.start == ("a",)
    assert decided.reasons == {
        "b": "waits for run a to end (1 run at a time); number 1 in the queue",
        "c": "waits for run a to end (1 run at a time); number 2 in the queue",
    }


def test_a_run_from_a_terminal_takes_a_place_too() -> None:
    decided = plan(queue("b"), ["a"], 1)
    assert decided.start == ()
    assert decided.reasons["b"].startswith("waits for run a to end")


def test_more_places_take_more_runs() -> None:
    decided = plan(queue("b", "c", "d"), ["a"], 3)
    assert decided.start == ("b", "c")
    assert decided.reasons == {"d": "waits for runs a, b, c to end (3 runs at a time); number 1 in the queue"}


def test_a_run_that_is_held_starts_never_and_blocks_nobody() -> None:
    decided = plan(queue("a*", "b"), [], 1)
    assert (decided.start, decided.reasons) == (("b",), {"a": HELD})
