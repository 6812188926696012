"""Pieces every section is made of: cards, tables, key figures, bars."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from monitor.report.html import EMPTY, Html, Node, element, join

_SHORT_TEXT = 24  # characters that are kept on one line
MAX_TABLE_ROWS = 200  # of a table by round: the page stays light, metrics.csv has them all


def section(title: str, *children: Node) -> Html:
    """A section with its heading; nothing when there is nothing in it."""
    shown = join(*children)
    return element("section", element("h2", title), shown) if shown else EMPTY


def figure(title: str, plot: Html, note: str = "", alternative: Html = EMPTY) -> Html:
    """A plot with its heading, a sentence on what to see, and the same as a table; nothing without a plot."""
    if not plot:
        return EMPTY
    caption = element("figcaption", element("h3", title), element("p", note, class_="note") if note else None)
    return element("figure", caption, plot, _folded("Show as a table", alternative), class_="card")


def card(title: str, *children: Node) -> Html:
    """A box with a heading; nothing when there is nothing in it."""
    shown = join(*children)
    return element("div", element("h3", title), shown, class_="card") if shown else EMPTY


def grid(*children: Html) -> Html:
    """Boxes side by side where there is room."""
    shown = join(*children)
    return element("div", shown, class_="grid") if shown else EMPTY


def table(caption: str, heads: Sequence[str], body: Iterable[Sequence[Node]], *, num_texts: int = 1) -> Html:
    """A table whose first ``num_texts`` columns are text and whose others are numbers; scrolls on its own."""
    rows = [element("tr", *(_cell(place, cell, num_texts) for place, cell in enumerate(cells))) for cells in body]
    if not rows:
        return EMPTY
    head = element(
        "tr",
        *(
            element("th", name, scope="col", class_=None if place < num_texts else "n")
            for place, name in enumerate(heads)
        ),
    )
    return scrolling(caption, element("thead", head), element("tbody", *rows))


def scrolling(caption: str, *content: Html, class_: str | None = None) -> Html:
    """A table that scrolls sideways on its own, below its caption, which does not."""
    above = element("p", caption, class_="caption", aria_hidden="true")
    shown = element("table", *content, class_=class_, aria_label=caption)
    return join(above, element("div", shown, class_="scroll", tabindex=0, role="region", aria_label=caption))


def round_table(caption: str, heads: Sequence[str], body: Sequence[Sequence[Node]]) -> Html:
    """A table by round, thinned out evenly when there are very many; the last round is always there."""
    step = -(-len(body) // MAX_TABLE_ROWS)
    if step > 1:
        shown = [row for place, row in enumerate(body) if place % step == 0 or place == len(body) - 1]
        return table(f"{caption}; one round of {step}, metrics.csv has them all", heads, shown)
    return table(caption, heads, body)


def facts(caption: str, pairs: Iterable[tuple[Node, Node]]) -> Html:
    """A table of names and values."""
    rows = [element("tr", element("th", name, scope="row"), element("td", value)) for name, value in pairs]
    if not rows:
        return EMPTY
    return scrolling(caption, element("tbody", *rows), class_="facts")


def bar(share: float, style: str = "c1") -> Html:
    """A bar of a share from 0 to 1, for the eye only: the number stands beside it."""
    width = f"width:{100 * min(1.0, max(0.0, share)):.1f}%"
    return element("span", element("span", class_=style, style=width), class_="bar", aria_hidden="true")


def _cell(place: int, cell: Node, num_texts: int) -> Html:
    is_short = isinstance(cell, str) and not isinstance(cell, Html) and len(cell) <= _SHORT_TEXT
    style = "n" if place >= num_texts else "short" if is_short else "long"
    return element("th", cell, scope="row", class_=style) if place == 0 else element("td", cell, class_=style)


def _folded(summary: str, content: Html) -> Html:
    return element("details", element("summary", summary), content) if content else EMPTY
