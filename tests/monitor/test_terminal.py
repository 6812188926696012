import io
import os
from collections.abc import Iterator

import pytest
from rich.console import Console

from monitor.frame import sparkline
from monitor.terminal import TerminalView
from shared.events import (
    Envelope,
    Event,
    ModelEvaluated,
    PhaseStarted,
    RoundClosed,
    RoundStarted,
    RunEnded,
    RunStarted,
    RunWaiting,
    UpdateAccepted,
    UpdateReceived,
    UpdateRejected,
)

HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"


_views: list[TerminalView] = []


@pytest.fixture(autouse=True)
def _give_the_terminal_back() -> Iterator[None]:
    yield
    while _views:
        _views.pop().close()


class Clock:
    """Seconds that pass only when told to; each reading may cost some."""

    def __init__(self, cost: float = 0.0) -> None:
        self.time = 0.0
        self.cost = cost

    def __call__(self) -> float:
        self.time += self.cost
        return self.time


class Screen:
    """A console over memory, and the view on it."""

    def __init__(self, *, terminal: bool, height: int = 30, cost: float = 0.0) -> None:
        self.file = io.StringIO()
        self.console = Console(file=self.file, force_terminal=terminal, width=110, height=height, color_system=None)
        self.clock = Clock(cost)
        self.view = TerminalView(self.console, clock=self.clock, now=lambda: 1000.0)
        self.seq = 0
        _views.append(self.view)

    def show(self, *events: Event) -> str:
        """Give the events to the view and return what was written since the last call."""
        before = len(self.file.getvalue())
        for event in events:
            self.seq += 1
            self.view.write(Envelope(seq=self.seq, ts=1000.0, run="run-1", event=event))
        return self.file.getvalue()[before:]


def started(clients: list[str], **config: object) -> RunStarted:
    settings = {"dataset": "mnist-sample", "model": "cnn", "strategy": "fedavg", "num-rounds": 2, **config}
    return RunStarted(
        config=settings, first_round=1, clients=clients, num_clients=len(clients), num_parameters=1, workers=1  # type: ignore[arg-type]
    )  # fmt: skip


def received(client: str) -> UpdateReceived:
    return UpdateReceived(server_round=1, phase="train", client=client, node_id="1", seconds=0.5)


def accepted(client: str, **metrics: float) -> UpdateAccepted:
    return UpdateAccepted(server_round=1, phase="train", client=client, num_examples=1234, metrics=metrics)


def rejected(client: str, reason: str = "bad-signature", detail: str = "key 3f9a") -> UpdateRejected:
    return UpdateRejected(server_round=1, phase="train", client=client, node_id="1", reason=reason, detail=detail)


CLOSED = RoundClosed(server_round=1, seconds=2.5, model_digest="ab", checkpoint_seconds=0.1)
ENDED = RunEnded(state="completed", rounds_completed=2, seconds=5.0)


def test_a_pipe_gets_a_few_plain_lines_a_round() -> None:
    screen = Screen(terminal=False)
    text = screen.show(
        started(["a", "b"]),
        RoundStarted(server_round=1, attempt=1),
        accepted("a", loss=0.5),
        rejected("b"),
        ModelEvaluated(server_round=1, metrics={"loss": 0.25, "accuracy": 0.951}, seconds=0.1),
        CLOSED,
        ENDED,
    )
    assert text.splitlines() == [
        "run run-1: mnist-sample, cnn, fedavg, 2 clients, 2 rounds",
        "  refused in round 1: b: the signature is not valid [bad-signature] key 3f9a",
        "round 1/2: accuracy 95.1%, loss 0.250, accepted 1, rejected 1, late 0, 2.5 s",
        "completed; 2/2 rounds in 5.0 s; accepted 1, rejected 1, late 0",
    ]
    screen.view.close()
    assert "\x1b" not in screen.file.getvalue()


def test_a_flood_of_refusals_is_a_few_lines_in_a_pipe() -> None:
    screen = Screen(terminal=False)
    text = screen.show(started(["a"]), *[rejected("a")] * 100, CLOSED, rejected("a"))
    assert text.count("refused in round") == 6
    assert "  ... and 95 more refusals in this round\n" in text


def test_a_waiting_run_says_so_in_a_pipe() -> None:
    assert Screen(terminal=False).show(RunWaiting(reason="waiting for clients 1/2")) == (
        "waiting: waiting for clients 1/2\n"
    )


def test_the_live_view_shows_each_client_and_words_beside_marks() -> None:
    screen = Screen(terminal=True)
    screen.show(
        started(["a", "b"]),
        RoundStarted(server_round=1, attempt=1),
        PhaseStarted(server_round=1, phase="train", clients=["a", "b"]),
        received("a"),
        accepted("a", loss=0.5, accuracy=0.875),
        rejected("b"),
        ModelEvaluated(server_round=1, metrics={"loss": 0.25, "accuracy": 0.951}, seconds=0.1),
    )
    screen.clock.time = 1.0
    frame = screen.show(CLOSED)
    row = next(line for line in frame.splitlines() if " a " in line and "accepted" in line and "0.5 s" in line)
    assert row.split() == ["✓", "accepted", "a", "0.5", "s", "0.500", "87.5%", "1,234", "1", "0"]
    for words in ("Round 1/2", "95.1%", "0.250", "✗ rejected", "b: the signature is not valid  key 3f9a"):
        assert words in frame


def test_many_clients_are_a_screenful_and_a_summary() -> None:
    names = [f"client-{i}" for i in range(300)]
    screen = Screen(terminal=True, height=24)
    frame = screen.show(started(names))
    assert frame.count("client-") == 13
    assert "and 287 more clients" in frame
    assert len(frame.splitlines()) <= 24


def test_frames_come_at_most_four_times_a_second() -> None:
    screen = Screen(terminal=True)
    screen.show(started(["a"]))
    assert screen.show(*[received("a")] * 1000) == ""
    screen.clock.time = 0.26
    assert screen.show(received("a")) != ""
    assert screen.show(received("a")) == ""


def test_a_slow_terminal_gets_frames_more_rarely() -> None:
    screen = Screen(terminal=True, cost=0.1)  # each reading of the clock costs: a frame takes 0.1 s
    screen.show(started(["a"]))
    drawn_at = screen.clock.time
    screen.clock.time = drawn_at + 4.5
    assert screen.show(received("a")) == ""
    screen.clock.time = drawn_at + 5.1
    assert screen.show(received("a")) != ""


def test_a_waiting_loop_moves_the_clock_on() -> None:
    screen = Screen(terminal=True)
    screen.show(started(["a"]))
    before = len(screen.file.getvalue())
    screen.view.tick()
    assert len(screen.file.getvalue()) == before
    screen.clock.time = 1.0
    screen.view.tick()
    assert len(screen.file.getvalue()) > before


def test_the_end_gives_the_cursor_back_and_nothing_is_drawn_afterwards() -> None:
    screen = Screen(terminal=True)
    text = screen.show(started(["a"]), ENDED)
    assert HIDE_CURSOR in text
    assert text.rstrip().endswith(SHOW_CURSOR)
    assert "completed" in text
    screen.clock.time = 9.0
    screen.view.tick()
    screen.view.close()
    assert screen.show(received("a")) == ""


def test_ctrl_c_gives_the_cursor_back() -> None:
    screen = Screen(terminal=True)

    def interrupted() -> None:
        with screen.view:
            screen.show(started(["a"]))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert screen.file.getvalue().rstrip().endswith(SHOW_CURSOR)


HOSTILE = "[bold red]mallory[/]\x1b]0;owned\x07\x1b[2J\u202e\r\n[link=http://x]"


@pytest.mark.parametrize("terminal", [True, False])
def test_hostile_names_and_details_cannot_steer_the_terminal(terminal: bool) -> None:
    screen = Screen(terminal=terminal)
    screen.show(
        started([HOSTILE], dataset=HOSTILE),
        PhaseStarted(server_round=1, phase=HOSTILE, clients=[HOSTILE]),
        rejected(HOSTILE, reason=HOSTILE, detail=HOSTILE),
        RunWaiting(reason=HOSTILE),
    )
    screen.clock.time = 1.0
    screen.show(RunEnded(state="failed", rounds_completed=0, seconds=1.0, error=HOSTILE))
    text = screen.file.getvalue()
    assert "\x1b]0;" not in text
    assert "\x1b[2J" not in text
    assert "\x07" not in text
    assert "\u202e" not in text
    assert "[bold red]mallory" in text  # shown as text, not obeyed


class ClosedTerminal(io.StringIO):
    """A terminal that went away."""

    def write(self, text: str) -> int:
        raise OSError(5, "Input/output error")


@pytest.mark.parametrize("terminal", [True, False])
def test_a_terminal_that_goes_away_does_not_end_the_run(terminal: bool, caplog: pytest.LogCaptureFixture) -> None:
    console = Console(file=ClosedTerminal(), force_terminal=terminal, width=80, height=24)
    view = TerminalView(console, clock=Clock(), now=lambda: 0.0)
    for event in (started(["a"]), received("a"), CLOSED, ENDED):
        view.write(Envelope(seq=1, ts=0.0, run="r", event=event))
    view.close()
    assert caplog.text.count("the live view stopped") == 1


def test_an_output_that_knows_ascii_only_gets_ascii() -> None:
    raw = io.BytesIO()
    console = Console(file=io.TextIOWrapper(raw, encoding="ascii"), force_terminal=False, width=80)
    view = TerminalView(console)
    for event in (started(["é"]), rejected("é"), CLOSED):
        view.write(Envelope(seq=1, ts=0.0, run="r", event=event))
    console.file.flush()
    assert b"refused in round 1: ?: the signature" in raw.getvalue()
    assert b"accuracy -, loss -" in raw.getvalue()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_worker_leaves_the_terminal_alone() -> None:
    screen = Screen(terminal=True)
    screen.show(started(["a"]))
    before = screen.file.getvalue()
    pid = os.fork()
    if pid == 0:
        screen.view.close()
        os._exit(0 if screen.file.getvalue() == before else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    screen.view.close()


def test_sparklines_span_their_own_range() -> None:
    assert sparkline([0.0, 0.5, 1.0]) == "▁▅█"
    assert sparkline([2.0, 2.0]) == "▄▄"
    assert sparkline([]) == ""
    assert len(sparkline(list(range(100)))) == 20
