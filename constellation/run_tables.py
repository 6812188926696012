"""Runs as tables for a terminal and as JSON: one, many, or side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from constellation import folders
from constellation.recorded_runs import COMPLETED, RUNNING, RecordedRun
from monitor.series import global_accuracy, global_loss
from monitor.words import DASH, clean, count, duration, number, percent, plural, reason_in_words
from shared.config import RunConfig

_STYLES = {COMPLETED: "green", RUNNING: "cyan", "failed": "bold red", "killed": "red"}
_MAX_REFUSALS = 20  # lines
_PATH = 4096  # characters of a line with a path
_HOUR_S, _DAY_S = 3_600, 86_400


def list_runs(runs: Sequence[RecordedRun], folder: Path, now: float, console: Console) -> None:
    """Print one line a run, the newest last; a narrow terminal gets fewer columns."""
    if not runs:
        console.print(f"no runs in {clean(folder, _PATH)} yet", markup=False, soft_wrap=True)
        return
    columns = [column for column in _LIST if console.width >= _WIDE or column not in _WIDE_ONLY]
    gap = 2 if console.width >= _WIDE else 1
    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="bold")
    for name in columns:
        is_number = name not in ("run", "state", "data", "strategy")
        table.add_column(name, justify="right" if is_number else "left", no_wrap=True, overflow="ellipsis")
    for run in runs:
        cells = _list_cells(run, now)
        table.add_row(*[cells[name] for name in columns])
    console.print(table)


_WIDE = 120  # columns of a terminal: all of a run's, with the longest strategy's name
_LIST = ("run", "state", "data", "strategy", "clients", "rounds", "accuracy", "accepted", "refused", "age")
_WIDE_ONLY = frozenset({"strategy", "clients", "accepted"})


def _list_cells(run: RecordedRun, now: float) -> dict[str, Text]:
    summary = run.summary
    cells = {
        "run": clean(run.run_id, 60),
        "data": clean(run.setting("dataset"), 24),
        "strategy": clean(run.setting("strategy"), 24),
        "clients": _whole(run.setting("num-clients")),
        "rounds": f"{summary.rounds_completed}/{_whole(run.setting('num-rounds'))}",
        "accuracy": percent(summary.accuracy),
        "accepted": count(summary.updates_accepted),
        "refused": count(summary.updates_rejected),
        "age": age(now - run.started_ts),
    }
    state = Text(run.state, _STYLES.get(run.state, "yellow"))
    return {"state": state} | {name: Text(text) for name, text in cells.items()}


def show_run(run: RecordedRun, now: float, console: Console, *, has_defaults: bool) -> None:
    """Print one run: figures, settings, rounds, refusals."""
    summary = run.summary
    lines = [
        f"run {clean(run.run_id)}: {run.state}, began {age(now - run.started_ts)} ago",
        f"{plural(summary.rounds_completed, 'round')} of {_whole(run.setting('num-rounds'))} in "
        f"{duration(summary.seconds_total)}; accuracy {percent(summary.accuracy, 2)}, loss {number(summary.loss, 4)}; "
        f"updates accepted {count(summary.updates_accepted)}, refused {count(summary.updates_rejected)}, "
        f"late {count(summary.updates_late)}",
    ]
    lines += [f"error: {clean(summary.error)}"] * bool(summary.error)
    for line in lines:
        console.print(line, markup=False)
    console.print()
    console.print(_settings_table(run, has_defaults=has_defaults))
    console.print()
    console.print(_rounds_table(run))
    if run.series.refusals:
        console.print()
        console.print(_refusals_table(run))
    report = run.path / folders.REPORT_FILE
    console.print()
    where = f"report: {report}" if report.exists() else f"to go on: constellation demo --resume {run.path}"
    console.print(clean(where, _PATH), markup=False, soft_wrap=True)


def run_to_json(run: RecordedRun) -> dict[str, object]:
    """Return everything of one run that tables show."""
    return {
        **run.to_json(),
        "config": dict(run.settings),
        "rounds": [asdict(row) for row in run.series.rounds],
        "refusals": [asdict(refusal) for refusal in run.series.refusals],
    }


def show_comparison(runs: Sequence[RecordedRun], console: Console) -> None:
    """Print what differs between runs, their figures, and their accuracy by round."""
    table = _table("", *[f">{run.run_id}" for run in runs], is_folded=True)
    for key, values in changed_settings(runs).items():
        table.add_row(key, *[Text(_shown(value)) for value in values])
    table.add_section()
    for name, figures in _figures(runs).items():
        table.add_row(name, *figures)
    table.add_section()
    for server_round, accuracies in accuracy_by_round(runs).items():
        table.add_row(f"accuracy, round {server_round}", *[percent(accuracy) for accuracy in accuracies])
    console.print(table)


def comparison_to_json(runs: Sequence[RecordedRun]) -> dict[str, object]:
    """Return the same as one JSON object: lists are in the order of the runs."""
    return {
        "runs": [run.to_json() for run in runs],
        "changed_settings": {key: list(values) for key, values in changed_settings(runs).items()},
        "accuracy_by_round": {str(number): list(values) for number, values in accuracy_by_round(runs).items()},
    }


def changed_settings(runs: Sequence[RecordedRun]) -> dict[str, tuple[object, ...]]:
    """Return the settings that are not the same in all runs, each run's value; None where it has none."""
    keys = dict.fromkeys(key for run in runs for key in run.settings)
    rows = {key: tuple(run.settings.get(key) for run in runs) for key in keys if key != "output"}
    return {key: values for key, values in rows.items() if any(value != values[0] for value in values)}


def accuracy_by_round(runs: Sequence[RecordedRun]) -> dict[int, tuple[float | None, ...]]:
    """Return each closed round's accuracy of the global model, run by run; None where there is none."""
    tables = [
        {row.server_round: global_accuracy(row) for row in run.series.rounds if row.is_closed or not row.server_round}
        for run in runs
    ]
    return {number: tuple(table.get(number) for table in tables) for number in sorted(set().union(*tables))}


def age(seconds: float) -> str:
    """Format how long ago something was: "12 min", "5 h", "3 d"."""
    if seconds < _HOUR_S:
        return f"{max(0, int(seconds // 60))} min"
    return f"{int(seconds // _HOUR_S)} h" if seconds < 2 * _DAY_S else f"{int(seconds // _DAY_S)} d"


def _figures(runs: Sequence[RecordedRun]) -> dict[str, list[str]]:
    summaries = [run.summary for run in runs]
    return {
        "state": [run.state for run in runs],
        "rounds completed": [count(summary.rounds_completed) for summary in summaries],
        "final accuracy": [percent(summary.accuracy, 2) for summary in summaries],
        "best accuracy": [
            f"{percent(summary.best_accuracy, 2)} (round {summary.best_round})"
            if summary.best_accuracy is not None
            else DASH
            for summary in summaries
        ],
        "final loss": [number(summary.loss, 4) for summary in summaries],
        "updates accepted": [count(summary.updates_accepted) for summary in summaries],
        "updates refused": [count(summary.updates_rejected) for summary in summaries],
        "time in rounds": [duration(summary.seconds_rounds) for summary in summaries],
    }


def _settings_table(run: RecordedRun, *, has_defaults: bool) -> Table:
    defaults = RunConfig().as_flat()
    table = _table("setting", "value", is_folded=True)
    shown = {key: value for key, value in run.settings.items() if has_defaults or defaults.get(key) != value}
    for key, value in shown.items():
        table.add_row(Text(clean(key, 60)), Text(_shown(value)))
    if not shown:
        table.add_row("all", "defaults")
    return table


def _rounds_table(run: RecordedRun) -> Table:
    table = _table(*[f">{name}" for name in ("round", "accuracy", "loss", "ok", "refused", "late", "time")], "note")
    for row in run.series.rounds:
        notes = [
            "kept the old model" * row.kept_old_model,
            f"start {row.attempt}" * (row.attempt > 1),
            "not closed" * (not row.is_closed and row.server_round > 0),
        ]
        table.add_row(
            str(row.server_round),
            percent(global_accuracy(row), 2),
            number(global_loss(row), 4),
            count(row.accepted),
            count(row.rejected),
            count(row.late),
            duration(row.seconds) if row.is_closed and row.server_round else DASH,
            ", ".join(filter(None, notes)),
        )
    return table


def _refusals_table(run: RecordedRun) -> Table:
    """Count refusals by client, phase and reason, the most frequent first."""
    counts = Counter((refusal.client, refusal.phase, refusal.reason) for refusal in run.series.refusals)
    table = _table(">refused", "client", "phase", "reason")
    for (client, phase, reason), times in counts.most_common(_MAX_REFUSALS):
        table.add_row(
            count(times),
            Text(clean(client, 40) or "unknown sender"),
            Text(clean(phase, 20)),
            Text(f"{clean(reason, 30)}: {reason_in_words(reason)}"),
        )
    if len(counts) > _MAX_REFUSALS:
        table.add_row("...", f"{len(counts) - _MAX_REFUSALS} more kinds")
    return table


def _table(*names: str, is_folded: bool = False) -> Table:
    """Make a plain table; a name that begins with ">" is a column of numbers."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in names:
        table.add_column(
            Text(clean(name.removeprefix(">"), 60)),
            justify="right" if name.startswith(">") else "left",
            overflow="fold",
            no_wrap=not is_folded and name.startswith(">"),
        )
    return table


def _shown(value: object) -> str:
    if value in ("", None):
        return DASH
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else clean(value)


def _whole(value: object) -> str:
    return count(value) if isinstance(value, int) and not isinstance(value, bool) else DASH
