"""What a process that is gone without a last event tells: failures are the run's own fault, the rest can go on."""

import pytest

from app.control.endings import Evidence, judge


def seen(**changes: object) -> Evidence:
    facts = {"exit_code": None, "said": "", "had_begun": True, "was_asked_to_stop": False}
    return Evidence(**{**facts, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("evidence", "state", "error"),
    [
        (seen(exit_code=-9), "interrupted", ""),
        (seen(exit_code=130), "interrupted", ""),
        (seen(), "interrupted", ""),
        (seen(exit_code=2, said="there is no data"), "failed", "there is no data"),
        (seen(exit_code=1), "failed", "its process ended with exit code 1 and said nothing"),
        (seen(exit_code=0, said="hello"), "failed", "its process ended without closing the run; look at its log"),
        (seen(had_begun=False, said="no module named x"), "failed", "no module named x"),
        (seen(had_begun=False), "interrupted", ""),
        (seen(said="round 3: accuracy 50%"), "interrupted", ""),
        (seen(exit_code=-9, was_asked_to_stop=True), "stopped", ""),
    ],
)
def test_each_ending_is_judged_by_what_was_seen(evidence: Evidence, state: str, error: str) -> None:
    ending = judge(evidence)
    assert (ending.state, ending.error) == (state, error)


def test_the_signal_that_ended_a_run_is_named() -> None:
    assert "SIGKILL" in judge(seen(exit_code=-9)).reason
