"""What rooms are told: made from the store when it is time, so that many changes are one message."""

from __future__ import annotations

from collections.abc import Iterable

from app.storage.store import Store
from app.storage.views import EventView, RunView
from app.web.live.rooms import EVENTS, OVERVIEW, Message, plain, plain_all, run_room
from shared.errors import NotFound

MAX_EVENTS = 500  # of one message; a page that missed more asks for /events
_MAX_RUNS = 200


def run_message(store: Store, run_id: str, after: int) -> Message:
    """Tell what changed in a run since its event ``after``.

    Raises:
        NotFound: There is no such run.
    """
    delta = store.delta(run_id, after)
    return Message(room=run_room(run_id), seq=delta.last_seq, type="run-delta", run=run_id, data=plain(delta))


def runs_message(store: Store, run_ids: Iterable[str], seq: int) -> Message:
    """Tell what these runs look like now; those that are gone are left out."""
    runs: list[RunView] = []
    for run_id in list(run_ids)[:_MAX_RUNS]:
        try:
            runs.append(store.run(run_id))
        except NotFound:
            continue
    return Message(room=OVERVIEW, seq=seq, type="runs", run=None, data={"runs": plain_all(runs)})


def events_message(events: Iterable[EventView], seq: int) -> Message:
    """Tell what happened."""
    return Message(room=EVENTS, seq=seq, type="events", run=None, data={"items": plain_all(events)})


def missed(store: Store, room: str, run_id: str | None, after: int) -> Message | None:
    """Return the one message that brings a viewer up to date who knows everything up to ``after``; None if it is.

    Raises:
        NotFound: There is no such run.
    """
    if run_id is not None:
        last_seq = store.run(run_id).last_seq
        return run_message(store, run_id, after if after <= last_seq else 0) if last_seq != after else None
    last_id = store.last_event_id()
    if last_id == after:
        return None
    newest = store.events(after=after if after <= last_id else 0, limit=MAX_EVENTS, newest_first=True)
    if room == EVENTS:
        return events_message(reversed(newest), last_id)
    return runs_message(store, dict.fromkeys(event.run for event in newest), last_id)


def last_seq(store: Store, run_id: str | None) -> int:
    """Return where a room's messages begin."""
    return store.last_event_id() if run_id is None else store.run(run_id).last_seq
