"""Tells a run's story in a few lines of log: for a ServerApp, whose log is all that ``flwr log`` shows."""

from __future__ import annotations

import logging

from monitor.privacy import privacy_line
from monitor.words import clean, duration, number, percent, plural, reason_in_words
from shared.events import (
    ClientIdentified,
    Envelope,
    Event,
    ModelEvaluated,
    PhaseEnded,
    PrivacySpent,
    RunEnded,
    RunResumed,
    RunWaiting,
    UpdateCapped,
    UpdateLate,
    UpdateRejected,
)


class StoryLog:
    """An event sink that writes what a person should know as sentences."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log

    def write(self, envelope: Envelope) -> None:
        """Write the line of one event, if it has one."""
        line = story_line(envelope.event)
        if line is not None:
            level, text = line
            self._log.log(level, "%s", text)

    def close(self) -> None:
        """Do nothing: the log belongs to the process."""


def story_line(event: Event) -> tuple[int, str] | None:
    """Return the level and the sentence of an event; None for what is of interest to machines only."""
    match event:
        case RunWaiting() | RunResumed():
            return logging.INFO, event.reason if isinstance(event, RunWaiting) else "going on"
        case ClientIdentified():
            return logging.INFO, f"node {event.node_id} is {clean(event.client)}"
        case UpdateRejected():
            who = clean(event.client or f"node {event.node_id}")
            why = reason_in_words(event.reason)
            return logging.WARNING, (
                f"round {event.server_round}: {event.phase} reply of {who} refused: {why} ({event.reason}: "
                f"{clean(event.detail)})"
            )
        case UpdateCapped():
            return logging.WARNING, (
                f"round {event.server_round}: {clean(event.client)} claims {event.claimed} examples, "
                f"counted as {event.counted:g} ({event.bound})"
            )
        case UpdateLate():
            return logging.WARNING, f"round {event.server_round}: no {event.phase} reply of {clean(event.client)}"
        case PhaseEnded():
            kept = "; the old model is kept" if event.kept_old_model else ""
            return logging.INFO, (
                f"round {event.server_round}, {event.phase}: {plural(event.accepted, 'reply', 'replies')} accepted, "
                f"{event.rejected} refused, {event.late} late, after {duration(event.collect_seconds)}{kept}"
            )
        case PrivacySpent():
            return _privacy(event)
        case ModelEvaluated():
            loss, accuracy = event.metrics.get("loss"), event.metrics.get("accuracy")
            return logging.INFO, f"round {event.server_round}: loss {number(loss)}, accuracy {percent(accuracy)}"
        case RunEnded():
            return _ending(event)
    return None


def _privacy(event: PrivacySpent) -> tuple[int, str]:
    level = logging.WARNING if event.warning else logging.INFO
    weak = f"; weak: {clean(event.warning)}" if event.warning else ""
    return level, f"round {event.server_round}: {privacy_line(event)}{weak}"


def _ending(event: RunEnded) -> tuple[int, str]:
    ending = f": {event.error}" if event.error else f" after {duration(event.seconds)}"
    level = logging.ERROR if event.state == "failed" else logging.INFO
    return level, f"{event.state}, {plural(event.rounds_completed, 'round')} closed{ending}"
