"""Follows a run of a dashboard elsewhere, event by event, through the dashboard's restarts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol
from urllib.parse import quote, urlencode

from monitor.event_decoding import envelope_of
from monitor.reporting.connection import Connection, Reply
from monitor.terminal import TerminalView
from shared.errors import NotFound, Unreachable, UsageError
from shared.events import Envelope, JsonValue, RunEnded

POLL_S = 1.0
TICK_S = 0.25
TIMEOUT_S = 10.0
PAGE = 200  # events a call
API = "/api/v1"
_NOT_OURS = "it answers, but not as a dashboard of this project does"

Row = Mapping[str, JsonValue]


class Screen(Protocol):
    """Where a watched run is shown."""

    def show(self, row: Row) -> None:
        """Show one event, a flat row as in ``events.jsonl``."""

    def caught_up(self) -> bool:
        """Take note that this was the newest event so far; tells whether the run is over."""

    def say(self, sentence: str) -> None:
        """Show why nothing comes; "" when it comes again."""

    def tick(self) -> None:
        """Move the clock on."""


class Watcher:
    """Reads the events of one run, page by page, and goes on where it was after an outage."""

    def __init__(self, connection: Connection, run: str = "") -> None:
        """Read over ``connection``; ``run`` "" is the newest run there is."""
        self._connection = connection
        self.run = run
        self._after = 0

    @property
    def url(self) -> str:
        """The dashboard's address."""
        return self._connection.destination.url

    def page(self) -> tuple[list[Row], bool]:
        """Return the next events, and whether more are there already.

        Raises:
            Unreachable: The dashboard gives no answer, or none that makes sense.
            UsageError: It wants a token.
            NotFound: It does not know the run.
        """
        if not self.run:
            self.run = self._newest_run()
            if not self.run:
                return [], False
        query = urlencode({"after": self._after, "run": self.run, "limit": PAGE})
        reply = self._get(f"{API}/events?{query}")
        items, last_id = reply.fields.get("items"), reply.fields.get("last_id")
        if not isinstance(items, list) or not isinstance(last_id, int):
            raise Unreachable(_NOT_OURS)
        if last_id < self._after:  # it was set up anew: its count began again
            self._after = 0
            return [], True
        found = [view for item in items if (view := _view(item)) is not None]
        if found:
            self._after = max(self._after, *(view.id for view in found))
        return [view.row for view in found], len(items) >= PAGE and bool(found)

    def check_run(self) -> None:
        """See that the run asked for is known.

        Raises:
            NotFound: It is not.
            Unreachable: As above; so ``UsageError``.
        """
        if self.run:
            self._get(f"{API}/runs/{quote(self.run, safe='')}")

    def _newest_run(self) -> str:
        items = self._get(f"{API}/runs?{urlencode({'limit': 1, 'sort': '-created'})}").fields.get("items")
        if not isinstance(items, list):
            raise Unreachable(_NOT_OURS)
        newest = items[0] if items else None
        run_id = newest.get("run_id") if isinstance(newest, dict) else None
        return run_id if isinstance(run_id, str) else ""

    def _get(self, path: str) -> Reply:
        reply = self._connection.get(path, timeout_s=TIMEOUT_S)
        if reply.status == HTTPStatus.OK:
            return reply
        if reply.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise UsageError(f"the dashboard at {self.url} wants to know who reads; name its token with --token-file")
        if reply.status == HTTPStatus.NOT_FOUND and self.run:
            raise NotFound(f"the dashboard at {self.url} knows no run {self.run}; its page Runs lists those it knows")
        detail = f" ({reply.detail[:200]})" if reply.detail else ""
        raise Unreachable(f"it answers {reply.status}{detail}")


def watch(watcher: Watcher, screen: Screen, wait: Callable[[float], None]) -> None:
    """Show a run until it is over.

    Raises:
        ConstellationError: The dashboard does not answer at the start, wants a token, or does not know the run.
    """
    try:
        watcher.check_run()
        rows, has_more = watcher.page()
    except Unreachable as error:
        raise Unreachable(f"no dashboard answers at {watcher.url}: {error}") from error
    while not _shown(screen, rows, has_more=has_more):
        if not has_more:
            _idle(screen, wait)
        try:
            rows, has_more = watcher.page()
        except (Unreachable, NotFound) as error:  # one that was set up anew may not have read the run's folder yet
            rows, has_more = [], False
            screen.say(f"reconnecting: {error}")
        else:
            screen.say("" if watcher.run else "no run has been started yet")


def _shown(screen: Screen, rows: list[Row], *, has_more: bool) -> bool:
    """Show events; tells whether the run is over with them."""
    for row in rows:
        screen.show(row)
    return not has_more and screen.caught_up()


def _idle(screen: Screen, wait: Callable[[float], None]) -> None:
    for _ in range(round(POLL_S / TICK_S)):
        screen.tick()
        wait(TICK_S)


class ViewScreen:
    """Shows a run in the terminal, as ``run_demo.py`` does.

    The end of a run is held back until it is known to be the last event: a run that went on has several.
    """

    def __init__(self, view: TerminalView, say: Callable[[str], None]) -> None:
        """Show on ``view``; while it draws no picture, ``say`` gets the words for outages."""
        self._view = view
        self._say = say
        self._said = ""
        self._end: Envelope | None = None

    def show(self, row: Row) -> None:
        """Show one event; those of a newer version are passed over."""
        envelope = envelope_of(row)
        if envelope is None:
            return
        self._end = envelope if isinstance(envelope.event, RunEnded) else None
        if self._end is None:
            self._view.write(envelope)

    def caught_up(self) -> bool:
        """Show the end of the run, if it is over."""
        if self._end is None:
            return False
        self._view.write(self._end)
        return True

    def say(self, sentence: str) -> None:
        """Show why nothing comes, once."""
        if sentence == self._said:
            return
        state = self._view.state
        if state.message in ("", self._said):  # else the run itself says why it waits
            state.message = sentence
        self._said = sentence
        if sentence and not self._view.is_drawn:
            self._say(sentence)

    def tick(self) -> None:
        """Move the clock on the screen on."""
        self._view.tick()


class JsonScreen:
    """Writes events as lines of JSON."""

    def __init__(self, write: Callable[[Row], None], say: Callable[[str], None]) -> None:
        """Write each row with ``write``, and outages with ``say``."""
        self._write = write
        self._say = say
        self._said = ""
        self._is_over = False

    def show(self, row: Row) -> None:
        """Write one event, whatever its kind."""
        self._is_over = row.get("type") == RunEnded.type
        self._write(row)

    def caught_up(self) -> bool:
        """Tell whether the run is over."""
        return self._is_over

    def say(self, sentence: str) -> None:
        """Say why nothing comes, once."""
        if sentence and sentence != self._said:
            self._say(sentence)
        self._said = sentence

    def tick(self) -> None:
        """Do nothing: lines have no clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _View:
    id: int
    row: Row


def _view(item: JsonValue) -> _View | None:
    """Read one event as the API gives it: ``id`` counts over all runs, ``data`` holds the event's own fields."""
    if not isinstance(item, dict):
        return None
    place, data = item.get("id"), item.get("data")
    if not isinstance(place, int) or isinstance(place, bool) or not isinstance(data, dict):
        return None
    own = {key: value for key, value in data.items() if key not in ("seq", "ts", "run", "type")}
    return _View(id=place, row={key: item.get(key) for key in ("seq", "ts", "run", "type")} | own)
