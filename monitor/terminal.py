"""The live view of a run in a terminal, and a few plain lines a round where there is none (a pipe, CI).

The view is drawn by the events that come in, at most four times a second and never for more than 2% of the time: no
thread of its own, because worker processes are forked while it is up. ``tick`` lets a waiting loop move the clock on.
Words and marks say what colours say.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.file_proxy import FileProxy
from rich.live import Live

from monitor.frame import draw
from monitor.live import LiveState
from monitor.privacy import privacy_line
from monitor.words import clean, count, duration, number, percent, plural, reason_in_words
from shared.events import Envelope, RoundClosed, RunEnded, RunStarted, RunWaiting, UpdateRejected

FRAME_SECONDS = 0.25
MAX_SHARE = 0.02  # of the wall time that drawing may take
MAX_PLAIN_REFUSALS = 5  # lines a round

_log = logging.getLogger(__name__)


class TerminalView:
    """An event sink that shows one run. Use it as a context manager, or call ``close`` in a ``finally``.

    Anything that goes wrong with the terminal (it was closed, it cannot show a character) ends the view, not the run.
    """

    def __init__(
        self,
        console: Console,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Show on ``console``: live when it is a terminal, as plain lines otherwise.

        Args:
            console: Where to show it.
            clock: Seconds for the pace of drawing.
            now: Unix seconds, as in the events.
        """
        self.state = LiveState()
        self._console = console
        self._clock = clock
        self._now = now
        self._live: Live | None = None
        self._is_live = console.is_terminal and not console.is_dumb_terminal
        self._is_quiet = False
        self._next_frame = 0.0
        self._plain_refusals = 0
        self._pid = os.getpid()

    @property
    def is_drawn(self) -> bool:
        """Tell whether a live picture stands on the screen now."""
        return self._live is not None

    def write(self, envelope: Envelope) -> None:
        """Take one event, and draw when it is time."""
        if isinstance(envelope.event, RunStarted):
            self.state = LiveState()
        self.state.take(envelope)
        if self._is_quiet:
            return
        try:
            if self._is_live:
                self._show_live(envelope)
            else:
                self._print_plain(envelope)
        except (OSError, ValueError) as error:  # the terminal is gone, closed, or cannot show a character
            self._give_up(error)

    def tick(self) -> None:
        """Redraw if it is time: for a loop that waits, so that the clock on the screen goes on."""
        if self._live is None or self._is_quiet or self._clock() < self._next_frame:
            return
        try:
            self._draw(self._now())
        except (OSError, ValueError) as error:
            self._give_up(error)

    def close(self) -> None:
        """Draw the last frame and give the terminal back, with its cursor. Harmless when called twice."""
        if self._live is None or os.getpid() != self._pid:  # a forked worker does not own the terminal
            return
        live, self._live = self._live, None
        self._is_quiet = True
        atexit.unregister(self.close)
        try:
            live.update(draw(self.state, self._console, self._now()))
        finally:
            try:
                live.stop()
            except (OSError, ValueError):
                _log.debug("the terminal was gone before the view ended", exc_info=True)

    def __enter__(self) -> Self:
        """Return the view itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Give the terminal back, however the run ended (Ctrl-C among them)."""
        self.close()

    def _show_live(self, envelope: Envelope) -> None:
        if self._live is None:
            if isinstance(envelope.event, RunEnded):
                return
            self._start()
        if isinstance(envelope.event, RunEnded):
            self.close()
        elif isinstance(envelope.event, RunStarted) or self._clock() >= self._next_frame:
            self._draw(envelope.ts)

    def _start(self) -> None:
        self._live = Live(console=self._console, auto_refresh=False, vertical_overflow="crop")
        self._live.start()
        atexit.register(self.close)  # a run that ends in sys.exit somewhere still gives the cursor back
        _restore_output_in_forks()

    def _draw(self, ts: float) -> None:
        if self._live is None:
            return
        began = self._clock()
        self._live.update(draw(self.state, self._console, ts), refresh=True)
        ended = self._clock()
        self._next_frame = ended + max(FRAME_SECONDS, (ended - began) / MAX_SHARE)

    def _give_up(self, error: Exception) -> None:
        self._is_quiet = True
        _log.warning("the live view stopped: %s; the run goes on", error)
        self.close()

    def _print_plain(self, envelope: Envelope) -> None:
        lines = self._plain_lines(envelope)
        if lines:
            encoding = self._console.encoding
            text = "".join(f"{line}\n" for line in lines).encode(encoding, "replace").decode(encoding)
            self._console.file.write(text)  # not console.print: on a closed pipe that ends the whole program
            self._console.file.flush()

    def _plain_lines(self, envelope: Envelope) -> list[str]:
        match envelope.event:
            case RunStarted():
                return [_opening(self.state, envelope.event.first_round)]
            case RunWaiting(reason=reason):
                return [f"waiting: {clean(reason)}"]
            case UpdateRejected():
                self._plain_refusals += 1
                return [_refusal(envelope.event)] if self._plain_refusals <= MAX_PLAIN_REFUSALS else []
            case RoundClosed(seconds=seconds):
                hidden = max(0, self._plain_refusals - MAX_PLAIN_REFUSALS)
                self._plain_refusals = 0
                more = [f"  ... and {plural(hidden, 'more refusal')} in this round"] if hidden else []
                return [*more, _round_line(self.state, seconds)]
            case RunEnded():
                return [_closing(self.state, envelope.event)]
        return []


def _opening(state: LiveState, first_round: int) -> str:
    what = ", ".join(clean(state.config.get(key, "")) for key in ("dataset", "model", "strategy"))
    resumed = f", from round {first_round}" if first_round > 1 else ""
    clients = plural(state.num_clients, "client")
    return f"run {clean(state.run)}: {what}, {clients}, {plural(state.num_rounds, 'round')}{resumed}"


def _refusal(event: UpdateRejected) -> str:
    who = clean(event.client, 40) or "unknown sender"
    why = reason_in_words(event.reason)
    where = f"round {event.server_round}" + (", evaluation" if event.phase == "evaluate" else "")
    return f"  refused in {where}: {who}: {why} [{clean(event.reason, 40)}] {clean(event.detail)}"


def _round_line(state: LiveState, seconds: float) -> str:
    loss = state.losses[-1] if state.losses else None
    accuracy = state.accuracies[-1] if state.accuracies else None
    kept = ", kept the old model" if state.kept_old_model else ""
    privacy = f", {privacy_line(state.privacy)}" if state.privacy else ""
    return (
        f"round {state.server_round}/{state.num_rounds}: accuracy {percent(accuracy).replace('–', '-')}, "
        f"loss {number(loss).replace('–', '-')}, accepted {count(state.round_accepted)}, "
        f"rejected {count(state.round_rejected)}, late {count(state.round_late)}, {duration(seconds)}{kept}{privacy}"
    )


def _closing(state: LiveState, event: RunEnded) -> str:
    rounds = f"{event.rounds_completed}/{state.num_rounds} rounds in {duration(event.seconds)}"
    counts = f"accepted {count(state.accepted)}, rejected {count(state.rejected)}, late {count(state.late)}"
    error = f": {clean(event.error)}" if event.error else ""
    privacy = f"; {privacy_line(state.privacy)}" if state.privacy else ""
    warning = f"; weak: {clean(state.privacy.warning)}" if state.privacy and state.privacy.warning else ""
    return f"{clean(event.state)}{error}; {rounds}; {counts}{privacy}{warning}"


_restores_in_forks = False


def _restore_output_in_forks() -> None:
    """See to it that a worker forked while the view is up prints to the real output, not through the view's lock."""
    global _restores_in_forks  # noqa: PLW0603 -- a fork hook can be registered but never removed: once a process
    if not _restores_in_forks and hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_restore_output)
        _restores_in_forks = True


def _restore_output() -> None:
    if isinstance(sys.stdout, FileProxy):
        sys.stdout = sys.stdout.rich_proxied_file
    if isinstance(sys.stderr, FileProxy):
        sys.stderr = sys.stderr.rich_proxied_file
