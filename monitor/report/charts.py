"""Plots as inline SVG with HTML labels.

The SVG holds shapes only and is stretched to whatever width there is, with strokes that keep their width; labels are
HTML in percentages. So a plot is readable from a phone to a printed page, follows the page's theme through CSS
variables, and needs no script. A library would have been welcome: pygal scales its text away on a phone and brings a
script for its tooltips, leather and drawsvg know no themes, the rest draw pixels or load a megabyte of JavaScript.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from monitor.report.html import EMPTY, Html, element, join
from monitor.report.scale import Scale, round_ticks

MAX_DOTS = 40  # points of a line that are still drawn as dots
MAX_TIPS = 200  # columns that still say their values when pointed at
_UNITS = 1000  # of the drawing, in both directions


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line by round; a round that is missing breaks it. ``style`` is a CSS class: colour and dash."""

    label: str
    points: Sequence[tuple[int, float | None]]
    style: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """An area between two values by round."""

    label: str
    points: Sequence[tuple[int, float, float]]
    style: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A horizontal line to compare with."""

    label: str
    value: float
    style: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """What one column stands for: a whole number, or several from ``first`` to ``last``."""

    name: str
    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """One part of every column of a stacked plot."""

    label: str
    values: Sequence[float]
    style: str


def line_chart(
    *,
    label: str,
    scale: Scale,
    lines: Sequence[Line],
    bands: Sequence[Band] = (),
    levels: Sequence[Level] = (),
    show: Callable[[float], str],
    show_tick: Callable[[float], str],
) -> Html:
    """Draw lines by round. ``label`` says in words what is to be seen; ``show`` and ``show_tick`` format values."""
    rounds = sorted({point[0] for line in lines for point in line.points if point[1] is not None})
    if not rounds:
        return EMPTY
    first, last = rounds[0], rounds[-1]

    def x(number: int) -> float:
        return _UNITS * ((number - first) / (last - first) if last > first else 0.5)

    def y(value: float) -> float:
        return _UNITS * (1 - scale.share(value))

    shapes = [_grid(scale)]
    shapes += [_band(band, x, y) for band in bands]
    shapes += [element("path", d=f"M0 {y(level.value):.1f}H{_UNITS}", class_=f"line {level.style}") for level in levels]
    shapes += [_line(line, x, y) for line in lines]
    shapes.append(_tips(lines, bands, rounds, x, show))
    ticks = [(tick, x(tick) / _UNITS) for tick in round_ticks(first, last)]
    legend = [(line.label, line.style, False) for line in lines]
    legend += [(band.label, band.style, True) for band in bands]
    legend += [(level.label, level.style, False) for level in levels]
    return join(_legend(legend), _frame(label, scale, show_tick, shapes, ticks))


def column_chart(
    *, label: str, scale: Scale, columns: Sequence[Column], stacks: Sequence[Stack], show: Callable[[float], str]
) -> Html:
    """Draw one stacked column for each of ``columns``, which are in the order of their numbers."""
    width = _UNITS / len(columns)
    gap = width * 0.18 if len(columns) <= 100 else 0.0
    shapes = [_grid(scale)]
    base = [0.0] * len(columns)
    for stack in stacks:
        path = []
        for place, value in enumerate(stack.values):
            bottom, top = scale.share(base[place]), scale.share(base[place] + value)
            base[place] += value
            if top > bottom:
                left, height = place * width + gap / 2, _UNITS * (top - bottom)
                path.append(f"M{left:.1f} {_UNITS * (1 - top):.1f}h{width - gap:.1f}v{height:.1f}h-{width - gap:.1f}z")
        shapes.append(element("path", d="".join(path), class_=f"area {stack.style}"))
    shapes.append(_column_tips(columns, stacks, width, show))
    firsts = [column.first for column in columns]
    ticks = [
        (tick, (bisect.bisect_right(firsts, tick) - 0.5) * width / _UNITS)
        for tick in round_ticks(firsts[0], columns[-1].last)
    ]
    legend = _legend([(stack.label, stack.style, True) for stack in stacks])
    return join(legend, _frame(label, scale, show, shapes, ticks))


def _frame(
    label: str,
    scale: Scale,
    show_tick: Callable[[float], str],
    shapes: Sequence[Html],
    ticks: Sequence[tuple[int, float]],
) -> Html:
    """Put the axes' labels around the drawing."""
    drawing = element(
        "svg", *shapes, viewBox=f"0 0 {_UNITS} {_UNITS}", preserveAspectRatio="none", role="img", aria_label=label
    )
    rows = (element("span", show_tick(tick), style=f"bottom:{100 * scale.share(tick):.2f}%") for tick in scale.ticks)
    columns = (element("span", str(name), style=f"left:{100 * share:.2f}%") for name, share in ticks)
    widest = max(len(show_tick(tick)) for tick in scale.ticks)
    return element(
        "div",
        element("div", *rows, class_="y", aria_hidden="true"),
        element("div", drawing, class_="drawing"),
        element("div", *columns, class_="x", aria_hidden="true"),
        class_="chart",
        style=f"--y:{widest}ch",
    )


def _grid(scale: Scale) -> Html:
    path = "".join(f"M0 {_UNITS * (1 - scale.share(tick)):.1f}H{_UNITS}" for tick in scale.ticks)
    return element("path", d=path, class_="grid-line")


def _line(line: Line, x: Callable[[int], float], y: Callable[[float], float]) -> Html:
    path, dots, pen = [], [], "M"
    for number, value in line.points:
        if value is None:
            pen = "M"
            continue
        place = f"{x(number):.1f} {y(value):.1f}"
        path.append(f"{pen}{place}")
        dots.append(f"M{place}h0")  # a line of no length with round ends is a dot that is never stretched
        pen = "L"
    shown = element("path", d="".join(path), class_=f"line {line.style}")
    return join(shown, element("path", d="".join(dots), class_=f"dots {line.style}") if len(dots) <= MAX_DOTS else None)


def _band(band: Band, x: Callable[[int], float], y: Callable[[float], float]) -> Html:
    over = [f"{x(number):.1f} {y(high):.1f}" for number, _, high in band.points]
    under = [f"{x(number):.1f} {y(low):.1f}" for number, low, _ in reversed(band.points)]
    return element("path", d="M" + "L".join(over + under) + "z", class_=f"band {band.style}") if over else EMPTY


def _tips(
    lines: Sequence[Line],
    bands: Sequence[Band],
    rounds: Sequence[int],
    x: Callable[[int], float],
    show: Callable[[float], str],
) -> Html:
    """Lay an invisible column over each round that says its values when pointed at."""
    if len(rounds) > MAX_TIPS:
        return EMPTY
    values = [(line.label, dict(line.points)) for line in lines]
    spans = [(band.label, {number: (low, high) for number, low, high in band.points}) for band in bands]
    width = _UNITS / max(1, len(rounds) - 1)
    shapes = []
    for number in rounds:
        told = [f"{name}: {show(value)}" for name, points in values if (value := points.get(number)) is not None]
        told += [
            f"{name}: {show(span[0])} to {show(span[1])}" for name, points in spans if (span := points.get(number))
        ]
        tip = element("title", f"Round {number}: " + "; ".join(told))
        shapes.append(element("rect", tip, x=f"{x(number) - width / 2:.1f}", y=0, width=f"{width:.1f}", height=_UNITS))
    return element("g", *shapes, class_="tips")


def _column_tips(
    columns: Sequence[Column], stacks: Sequence[Stack], width: float, show: Callable[[float], str]
) -> Html:
    if len(columns) > MAX_TIPS:
        return EMPTY
    shapes = []
    for place, column in enumerate(columns):
        told = "; ".join(f"{stack.label}: {show(stack.values[place])}" for stack in stacks if stack.values[place])
        tip = element("title", f"{column.name}: {told}")
        shapes.append(element("rect", tip, x=f"{place * width:.1f}", y=0, width=f"{width:.1f}", height=_UNITS))
    return element("g", *shapes, class_="tips")


def _legend(items: Sequence[tuple[str, str, bool]]) -> Html:
    if len(items) == 1:  # the heading says what it is
        return EMPTY
    entries = []
    for label, style, is_area in items:
        shape = (
            element("rect", width=22, height=10, y=1, class_=f"area {style}")
            if is_area
            else element("path", d="M0 6H22", class_=f"line {style}")
        )
        sample = element("svg", shape, viewBox="0 0 22 12", aria_hidden="true")
        entries.append(element("li", sample, label))
    return element("ul", *entries, class_="legend")
