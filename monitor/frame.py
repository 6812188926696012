"""Draws the state of a run as one frame of the terminal view. Text from outside is never markup."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from monitor.live import ClientLine, LiveState
from monitor.privacy import privacy_line
from monitor.words import DASH, clean, count, duration, number, percent, plural, reason_in_words
from shared.events import PrivacySpent

MAX_CLIENT_LINES = 15
_OTHER_LINES = 11  # header, totals, refusals, blank lines: what a frame has besides the clients
_MIN_CLIENT_LINES = 3
_NAME_WIDTH = 24  # characters
_SPARK_WIDTH = 20  # characters
_BAR_WIDTH = 20  # characters

# Columns and their least widths: what stays where it is from frame to frame can be read.
_COLUMNS = {"time": 6, "loss": 5, "accuracy": 8, "examples": 8, "accepted": 8, "rejected": 8}
_MARKS = {"accepted": "✓", "rejected": "✗", "late": "!", "received": "↓", "idle": "·"}
_ASCII_MARKS = {"accepted": "+", "rejected": "x", "late": "!", "received": "v", "idle": "."}
_STYLES = {"accepted": "green", "rejected": "bold red", "late": "yellow", "received": "cyan", "idle": "dim"}
_WORKING_STYLE = "blue"
_BLOCKS = "▁▂▃▄▅▆▇█"


def draw(state: LiveState, console: Console, ts: float) -> RenderableType:
    """Return the whole frame for the state at Unix time ``ts``."""
    is_unicode = console.encoding.lower().startswith("utf")
    limit = max(_MIN_CLIENT_LINES, min(MAX_CLIENT_LINES, console.height - _OTHER_LINES))
    parts: list[RenderableType] = [_title(state), _round(state, ts, is_unicode), _figures(state, is_unicode)]
    if state.privacy is not None:
        parts.append(_privacy(state.privacy))
    if state.message:
        parts.append(Text(f"Waiting: {clean(state.message)}", style="bold yellow"))
    parts += [Text(""), _clients(state, limit, is_unicode)]
    hidden = max(0, max(state.num_clients, len(state.clients)) - min(limit, len(state.clients)))
    if hidden:
        parts.append(_rest(state, hidden))
    if state.refusals:
        parts += [Text(""), *_refusals(state)]
    return Group(*parts)


def sparkline(values: Sequence[float], width: int = _SPARK_WIDTH) -> str:
    """Draw the last ``width`` values as blocks between their minimum and maximum; a flat line lies in the middle."""
    shown = list(values)[-width:]
    if not shown:
        return ""
    low, high = min(shown), max(shown)
    if high == low:
        return _BLOCKS[3] * len(shown)
    return "".join(_BLOCKS[round((value - low) / (high - low) * (len(_BLOCKS) - 1))] for value in shown)


def _title(state: LiveState) -> Text:
    config = state.config
    what = " · ".join(clean(config[key], 60) for key in ("dataset", "model", "strategy") if config.get(key))
    return _line(("Constellation  ", "bold"), (clean(state.run, 60), "cyan"), (f"  {what}", ""))


def _line(*parts: tuple[str, str]) -> Text:
    """Join pieces of text with their styles into one line that never wraps."""
    line = Text(no_wrap=True, overflow="ellipsis")
    for text, style in parts:
        line.append(text, style)
    return line


def _round(state: LiveState, ts: float, is_unicode: bool) -> Text:
    elapsed = f"elapsed {duration(state.ended.seconds if state.ended else max(0.0, ts - state.started_ts))}"
    place = f"Round {state.server_round}/{state.num_rounds}" + (f" (start {state.attempt})" * (state.attempt > 1))
    if state.ended:
        error = f": {clean(state.ended.error)}" if state.ended.error else ""
        style = "bold green" if state.ended.state == "completed" else "bold yellow"
        return _line((f"{place}  ", "bold"), (f"{clean(state.ended.state, 40)}{error}", style), (f"  {elapsed}", ""))
    left = state.seconds_left(ts)
    remaining = f", about {duration(left)} left" if left is not None else ""
    full, empty = ("━", "─") if is_unicode else ("#", "-")
    done = min(1.0, state.rounds_closed / state.num_rounds) if state.num_rounds else 0.0
    filled = int(done * _BAR_WIDTH)
    return _line(
        (f"{place}  ", "bold"),
        (full * filled, "green"),
        (empty * (_BAR_WIDTH - filled), "dim"),
        (f"  {_phase(state)}{elapsed}{remaining}", ""),
    )


def _phase(state: LiveState) -> str:
    progress = state.progress
    return f"{clean(progress.phase, 20)} {progress.replied}/{progress.asked}, " if progress.phase else ""


def _figures(state: LiveState, is_unicode: bool) -> Text:
    accuracy = state.accuracies[-1] if state.accuracies else None
    loss = state.losses[-1] if state.losses else None
    accuracy_line = sparkline(state.accuracies) if is_unicode else ""
    loss_line = sparkline(state.losses) if is_unicode else ""
    return _line(
        ("Accuracy ", ""), (percent(accuracy), "bold"), (f" {accuracy_line}  ", "green"),
        ("Loss ", ""), (number(loss), "bold"), (f" {loss_line}  ", "blue"),
        (f"accepted {count(state.accepted)}", "green"), (" · ", "dim"),
        (f"rejected {count(state.rejected)}", "bold red" if state.rejected else ""), (" · ", "dim"),
        (f"late {count(state.late)}", "yellow" if state.late else ""),
        (f" · evaluations refused {count(state.evaluations_refused)}" * bool(state.evaluations_refused), "red"),
    )  # fmt: skip


def _privacy(spent: PrivacySpent) -> Text:
    warning = f"  weak: {clean(spent.warning)}" if spent.warning else ""
    return _line(("Privacy ", ""), (privacy_line(spent), "bold"), (warning, "yellow"))


def _clients(state: LiveState, limit: int, is_unicode: bool) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("this round", no_wrap=True, min_width=12)
    table.add_column("client", no_wrap=True, overflow="ellipsis", max_width=_NAME_WIDTH)
    for name, width in _COLUMNS.items():
        table.add_column(name, justify="right", no_wrap=True, min_width=width)
    for line in state.most_interesting(limit):
        table.add_row(*_cells(line, is_unicode))
    return table


def _cells(line: ClientLine, is_unicode: bool) -> list[Text]:
    marks, working = (_MARKS, "…") if is_unicode else (_ASCII_MARKS, "*")
    style = _STYLES.get(line.state, _WORKING_STYLE)
    refused = count(line.rejected) + (f" (+{line.late} late)" if line.late else "")
    return [
        Text(f"{marks.get(line.state, working)} {clean(line.state, 12)}", style),
        Text(clean(line.name, 60)),
        Text(duration(line.seconds) if line.seconds is not None else DASH),
        Text(number(line.loss)),
        Text(percent(line.accuracy)),
        Text(count(line.num_examples)),
        Text(count(line.accepted)),
        Text(refused, "bold red" if line.rejected else "yellow" if line.late else ""),
    ]


def _rest(state: LiveState, hidden: int) -> Text:
    progress = state.progress
    waiting = f"; {progress.replied:,} of {progress.asked:,} replies in" if progress.asked else ""
    counts = f"accepted {count(state.round_accepted)}, rejected {count(state.round_rejected)}, "
    return Text(
        f"… and {plural(hidden, 'more client')}; this round: {counts}late {count(state.round_late)}{waiting}", "dim"
    )


def _refusals(state: LiveState) -> list[Text]:
    lines = [Text("Last refusals", style="dim")]
    for refusal in reversed(state.refusals):
        who = clean(refusal.client, 40) or "unknown sender"
        lines.append(
            _line(
                (f"round {refusal.server_round}  ", "dim"),
                (f"{who}: {reason_in_words(refusal.reason)}", "red"),
                (f"  {clean(refusal.detail)}", "dim"),
            )
        )
    return lines
