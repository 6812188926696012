"""Plots by round: accuracy, loss, time by phase, and what became of the updates."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from monitor.report.charts import Band, Column, Level, Line, Stack, column_chart, line_chart
from monitor.report.extras import Baselines
from monitor.report.html import EMPTY, Html
from monitor.report.parts import figure, round_table
from monitor.report.scale import Scale, nice_scale
from monitor.tables import RoundRow
from monitor.tally import Spread
from monitor.words import DASH, count, number, percent

MAX_COLUMNS = 60  # of a column plot; more rounds are put together, several to a column
_Measure = Callable[[RoundRow], float | None]
_SpreadOf = Callable[[RoundRow], Spread | None]


def accuracy_figure(rounds: Sequence[RoundRow], baselines: Baselines | None) -> Html:
    """Accuracy of the global model by round, and how it spreads over the clients."""
    levels = []
    if baselines and baselines.centralised is not None:
        levels.append(Level(label="centralised training", value=baselines.centralised, style="s4"))
    if baselines and baselines.local_only is not None:
        levels.append(Level(label="clients alone (mean)", value=baselines.local_only, style="s5"))
    return _quality_figure(
        "Accuracy by round",
        rounds,
        central=lambda row: row.accuracy,
        spread=lambda row: row.client_accuracy,
        trained=lambda row: row.train_accuracy,
        levels=levels,
        show=percent,
        show_tick=lambda value: percent(value).replace(".0%", "%"),
        fit=_accuracy_scale,
    )


def loss_figure(rounds: Sequence[RoundRow]) -> Html:
    """Loss of the global model by round, and how it spreads over the clients."""
    return _quality_figure(
        "Loss by round",
        rounds,
        central=lambda row: row.loss,
        spread=lambda row: row.client_loss,
        trained=lambda row: row.train_loss,
        levels=[],
        show=number,
        show_tick=lambda value: f"{value:g}",
        fit=lambda values: nice_scale(min(0.0, *values), max(values)),
    )


def _accuracy_scale(values: Sequence[float]) -> Scale:
    low, high = min(values), max(values)
    return nice_scale(low, high) if high > low else nice_scale(min(0.0, low), max(1.0, high))


def _quality_figure(
    title: str,
    rounds: Sequence[RoundRow],
    *,
    central: _Measure,
    spread: _SpreadOf,
    trained: _Measure,
    levels: Sequence[Level],
    show: Callable[[float], str],
    show_tick: Callable[[float], str],
    fit: Callable[[Sequence[float]], Scale],
) -> Html:
    lines = _lines(rounds, central, spread, trained)
    if not lines:
        return EMPTY
    bands = _bands(rounds, spread)
    values = [value for line in lines for _, value in line.points if value is not None]
    values += [value for band in bands for _, *ends in band.points for value in ends]
    values += [level.value for level in levels]
    first = lines[0]
    known = [value for _, value in first.points if value is not None]
    label = f"{title}: {first.label}, from {show(known[0])} to {show(known[-1])} over {len(rounds)} points"
    plot = line_chart(
        label=label, scale=fit(values), lines=lines, bands=bands, levels=levels, show=show, show_tick=show_tick
    )
    return figure(title, plot, _note(lines, bands), _quality_table(title, rounds, lines, spread, show))


def _lines(rounds: Sequence[RoundRow], central: _Measure, spread: _SpreadOf, trained: _Measure) -> list[Line]:
    found = [
        Line(label="global model, central test set", points=_points(rounds, central), style="s1"),
        Line(label="global model, clients' mean", points=_points(rounds, lambda row: _mean(spread(row))), style="s2"),
        Line(label="in the clients' training", points=_points(rounds, trained), style="s3"),
    ]
    return [line for line in found if any(value is not None for _, value in line.points)]


def _mean(spread: Spread | None) -> float | None:
    return None if spread is None else spread.mean


def _points(rounds: Sequence[RoundRow], measure: _Measure) -> list[tuple[int, float | None]]:
    return [(row.server_round, measure(row)) for row in rounds]


def _bands(rounds: Sequence[RoundRow], spread: _SpreadOf) -> list[Band]:
    known = [(row.server_round, found) for row in rounds if (found := spread(row)) is not None]
    if not known:
        return []
    if all(found.p10 is not None for _, found in known):
        points = [(number, found.p10 or 0.0, found.p90 or 0.0) for number, found in known]
        return [Band(label="clients' 10th to 90th percentile", points=points, style="s2")]
    points = [(number, found.minimum, found.maximum) for number, found in known]
    return [Band(label="clients' minimum to maximum", points=points, style="s2")]


def _note(lines: Sequence[Line], bands: Sequence[Band]) -> str:
    if not bands:
        return ""
    styles = {line.style for line in lines}
    alone = "" if "s1" in styles else " There was no central test set."
    return f"Each client tests the global model on its own data and counts once.{alone}"


def _quality_table(
    title: str, rounds: Sequence[RoundRow], lines: Sequence[Line], spread: _SpreadOf, show: Callable[[float], str]
) -> Html:
    def told(value: float | None) -> str:
        return DASH if value is None else show(value)

    has_spread = any(spread(row) is not None for row in rounds)
    heads = ["Round", *(line.label for line in lines)]
    heads += ["deviation", "minimum", "maximum"] if has_spread else []
    body = []
    for place, row in enumerate(rounds):
        cells = [str(row.server_round), *(told(line.points[place][1]) for line in lines)]
        found = spread(row)
        if has_spread:
            ends = (found.deviation, found.minimum, found.maximum) if found else (None, None, None)
            cells += map(told, ends)
        body.append(cells)
    return round_table(title, heads, body)


def time_figure(rounds: Sequence[RoundRow]) -> Html:
    """Where each round's time went."""
    timed = [row for row in rounds if row.server_round > 0 and row.seconds > 0]
    if not timed:
        return EMPTY
    columns, groups = _columns(timed)
    parts: list[tuple[str, str, Callable[[RoundRow], float]]] = [
        ("training and waiting for it", "c1", lambda row: row.collect_seconds),
        ("aggregation", "c2", lambda row: row.aggregate_seconds),
        ("evaluation", "c3", lambda row: row.evaluate_seconds),
        ("checkpoint", "c4", lambda row: row.checkpoint_seconds),
        ("everything else", "c5", _other_seconds),
    ]
    stacks = [Stack(label=name, style=style, values=_means(groups, of)) for name, style, of in parts]
    stacks = [stack for stack in stacks if any(stack.values)]
    scale = nice_scale(0.0, max(map(sum, zip(*(stack.values for stack in stacks), strict=True))))
    total = sum(row.seconds for row in timed)
    training = sum(row.collect_seconds for row in timed) / total
    note = f"Seconds a round. {percent(min(1.0, training), 0)} of the rounds' time is the clients' training."
    body = [[str(row.server_round), *(f"{of(row):.3f}" for *_, of in parts), f"{row.seconds:.3f}"] for row in timed]
    return figure(
        "Time of each round by phase",
        column_chart(label=f"Time by phase: {note}", scale=scale, columns=columns, stacks=stacks, show=_seconds),
        note + _grouping(groups),
        round_table("Seconds by phase", ["Round", *(name for name, *_ in parts), "whole round"], body),
    )


def _other_seconds(row: RoundRow) -> float:
    known = row.collect_seconds + row.aggregate_seconds + row.evaluate_seconds + row.checkpoint_seconds
    return max(0.0, row.seconds - known)


def _seconds(value: float) -> str:
    return f"{value:.3g} s"


def updates_figure(rounds: Sequence[RoundRow]) -> Html:
    """What became of the updates of each round; only where not all were accepted."""
    played = [row for row in rounds if row.server_round > 0]
    if not any(row.rejected or row.late for row in played):
        return EMPTY
    columns, groups = _columns(played)
    parts: list[tuple[str, str, Callable[[RoundRow], float]]] = [
        ("accepted", "c1", lambda row: row.accepted),
        ("refused", "bad", lambda row: row.rejected),
        ("late", "c2", lambda row: row.late),
    ]
    stacks = [Stack(label=name, style=style, values=_means(groups, of)) for name, style, of in parts]
    stacks = [stack for stack in stacks if any(stack.values)]
    scale = nice_scale(0.0, max(map(sum, zip(*(stack.values for stack in stacks), strict=True))), is_whole=True)
    refused = sum(row.rejected for row in played)
    body = [[str(row.server_round), *(count(of(row)) for *_, of in parts), _kept(row)] for row in played]
    return figure(
        "Updates by round",
        column_chart(
            label=f"Updates by round: {refused} refused in all", scale=scale, columns=columns, stacks=stacks,
            show=lambda value: f"{value:.3g}",
        ),
        "Replies that train the model." + _grouping(groups),
        round_table("Updates by round", ["Round", "accepted", "refused", "late", "note"], body),
    )  # fmt: skip


def _kept(row: RoundRow) -> str:
    return "kept the old model" if row.kept_old_model else ""


def _columns(rounds: Sequence[RoundRow]) -> tuple[list[Column], list[list[RoundRow]]]:
    """Put rounds together so that at most ``MAX_COLUMNS`` columns are drawn."""
    width = -(-len(rounds) // MAX_COLUMNS)
    groups = [list(rounds[start : start + width]) for start in range(0, len(rounds), width)]
    return [_column(group[0].server_round, group[-1].server_round) for group in groups], groups


def _column(first: int, last: int) -> Column:
    return Column(name=f"Round {first}" if first == last else f"Rounds {first} to {last}", first=first, last=last)


def _means(groups: Sequence[Sequence[RoundRow]], of: Callable[[RoundRow], float]) -> list[float]:
    return [sum(map(of, group)) / len(group) for group in groups]


def _grouping(groups: Sequence[Sequence[RoundRow]]) -> str:
    return f" Each column is the mean of {len(groups[0])} rounds." if len(groups[0]) > 1 else ""
