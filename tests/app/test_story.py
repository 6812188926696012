import logging

import pytest

from app.story import StoryLog, story_line
from shared.events import (
    ClientIdentified,
    Envelope,
    Event,
    ModelEvaluated,
    PhaseEnded,
    RoundStarted,
    RunEnded,
    RunWaiting,
    UpdateLate,
    UpdateRejected,
)


def refused(client: str) -> UpdateRejected:
    return UpdateRejected(
        server_round=2, phase="train", client=client, node_id="7", reason="unknown-key", detail="key ab\x1b[2J"
    )


def ended(kept: bool) -> PhaseEnded:
    return PhaseEnded(
        server_round=2,
        phase="train",
        accepted=1,
        rejected=2,
        late=3,
        collect_seconds=12.0,
        aggregate_seconds=0.1,
        kept_old_model=kept,
        metrics={},
    )


CASES: list[tuple[Event, int, str]] = [
    (RunWaiting(reason="waiting for clients 1/2"), logging.INFO, "waiting for clients 1/2"),
    (ClientIdentified(server_round=1, client="site-a", node_id="7"), logging.INFO, "node 7 is site-a"),
    (ended(False), logging.INFO, "round 2, train: 1 reply accepted, 2 refused, 3 late, after 12 s"),
    (
        ended(True),
        logging.INFO,
        "round 2, train: 1 reply accepted, 2 refused, 3 late, after 12 s; the old model is kept",
    ),
    (
        refused("client-1"),
        logging.WARNING,
        "round 2: train reply of client-1 refused: the signing key is not enrolled (unknown-key: key ab?[2J)",
    ),
    (
        refused(""),
        logging.WARNING,
        "round 2: train reply of node 7 refused: the signing key is not enrolled (unknown-key: key ab?[2J)",
    ),
    (
        UpdateLate(server_round=2, phase="train", client="client-0", seconds=60.0),
        logging.WARNING,
        "round 2: no train reply of client-0",
    ),
    (
        ModelEvaluated(server_round=2, metrics={"loss": 0.25, "accuracy": 0.914}, seconds=1.0),
        logging.INFO,
        "round 2: loss 0.250, accuracy 91.4%",
    ),
    (
        RunEnded(state="completed", rounds_completed=5, seconds=61.0),
        logging.INFO,
        "completed, 5 rounds closed after 1 min 01 s",
    ),
    (
        RunEnded(state="failed", rounds_completed=1, seconds=61.0, error="the disk is full"),
        logging.ERROR,
        "failed, 1 round closed: the disk is full",
    ),
]


@pytest.mark.parametrize(("event", "level", "text"), CASES, ids=lambda value: getattr(value, "type", ""))
def test_what_a_person_should_know_is_one_sentence(event: Event, level: int, text: str) -> None:
    assert story_line(event) == (level, text)


def test_what_only_machines_need_is_not_told() -> None:
    assert story_line(RoundStarted(server_round=1, attempt=1)) is None


def test_sentences_go_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    story = StoryLog(logging.getLogger("test-story"))
    with caplog.at_level(logging.INFO):
        for seq, event in enumerate((RunWaiting(reason="50% of clients"), RoundStarted(server_round=1, attempt=1)), 1):
            story.write(Envelope(seq=seq, ts=0.0, run="r", event=event))
    story.close()
    assert caplog.messages == ["50% of clients"]
