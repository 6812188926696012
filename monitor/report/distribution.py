"""How the data is spread over the clients: a table of counts for few clients, a map and sizes for many."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from monitor.report.charts import Column, Stack, column_chart
from monitor.report.html import EMPTY, Html, Node, element, join
from monitor.report.parts import bar, figure, scrolling, table
from monitor.report.scale import nice_scale
from monitor.tables import ClientRow, RunSeries
from monitor.words import count, percent, plural

MAX_TABLE_CLIENTS = 40
MAX_TABLE_CLASSES = 20
_MAX_MAP_COLUMNS = 120
_MAX_MAP_CLASSES = 50
_MAP_LEVELS = 8  # shades of the map
_SIZE_BINS = 20


def distribution(series: RunSeries) -> Html:
    """Show who holds how much of what; nothing when it is not known."""
    clients = [client for client in series.clients if sum(client.histogram)]
    if not clients:
        return EMPTY
    num_classes = max(len(client.histogram) for client in clients)
    names = _class_names(series, num_classes)
    note = _in_words(clients, num_classes) + _not_all(len(clients), series.num_clients)
    if len(clients) <= MAX_TABLE_CLIENTS and num_classes <= MAX_TABLE_CLASSES:
        heading = element(
            "figcaption", element("h3", "Training examples of each class"), element("p", note, class_="note")
        )
        caption = "By client: a cell is the stronger, the larger its share of the client's data"
        return element("figure", heading, _heat_table(caption, clients, names), class_="card wide")
    return join(
        figure("Classes by client", _class_map(clients, names), note + _map_words(clients, names)),
        figure("Size of the clients", *_sizes(clients)),
    )


def _class_names(series: RunSeries, num_classes: int) -> list[str]:
    known = list(series.class_names[:num_classes])
    return known + [str(place) for place in range(len(known), num_classes)]


def _not_all(described: int, num_clients: int) -> str:
    return f" {described:,} of {plural(num_clients, 'client')} are described." if described < num_clients else ""


def _in_words(clients: Sequence[ClientRow], num_classes: int) -> str:
    sizes = sorted(sum(client.histogram) for client in clients)
    top = statistics.median(max(client.histogram) / sum(client.histogram) for client in clients)
    even = 1 / num_classes
    held = (
        f"{count(sizes[0])} to {count(sizes[-1])} examples a client, {count(statistics.median(sizes))} in the middle."
    )
    skew = f" A typical client's most frequent class is {percent(top, 0)} of its data"
    return f"{held}{skew}; {percent(even, 0)} would be even."


def _heat_table(caption: str, clients: Sequence[ClientRow], names: Sequence[str]) -> Html:
    """Counts, shaded by the share they are of the client's data: the table is the plot."""
    largest = max(sum(client.histogram) for client in clients)
    heads = [element("th", name, scope="col", class_="n") for name in ("Examples", *names)]
    rows = []
    for client in clients:
        total = sum(client.histogram)
        cells: list[Node] = [element("th", client.client, scope="row", class_="short")]
        cells.append(element("td", count(total), bar(total / largest), class_="n total"))
        counts = (*client.histogram, *[0] * (len(names) - len(client.histogram)))
        cells += [
            element("td", count(n) if n else "·", class_="n heat", style=f"--a:{0.75 * n / total:.3f}") for n in counts
        ]
        rows.append(element("tr", *cells))
    head = element("tr", element("th", "Client", scope="col"), *heads)
    return scrolling(caption, element("thead", head), element("tbody", *rows), class_="heatmap")


def _class_map(clients: Sequence[ClientRow], names: Sequence[str]) -> Html:
    """Draw classes as rows and clients, sorted by their main class, as columns; shade is the class's share."""
    columns = _shares(_sorted_by_class(clients), len(names))
    rows = list(map(list, zip(*columns, strict=True)))
    shown_names = list(names)
    if len(rows) > _MAX_MAP_CLASSES:
        shown_names, rows = _merge_classes(names, rows)
    width, height = 1000 / len(columns), 1000 / len(rows)
    paths: list[list[str]] = [[] for _ in range(_MAP_LEVELS)]
    for place, row in enumerate(rows):
        for column, share in enumerate(row):
            level = min(_MAP_LEVELS, round(share**0.5 * _MAP_LEVELS))  # the eye sees roots of a shade better
            if level:
                corner = f"M{column * width:.1f} {place * height:.1f}"
                paths[level - 1].append(f"{corner}h{width:.1f}v{height:.1f}h-{width:.1f}z")
    shapes = [
        element("path", d="".join(path), class_="heat-area", style=f"--a:{(level + 1) / _MAP_LEVELS:.3f}")
        for level, path in enumerate(paths)
        if path
    ]
    label = f"Share of each of {len(names)} classes in the data of {len(clients)} clients, sorted by main class"
    drawing = element("svg", *shapes, viewBox="0 0 1000 1000", preserveAspectRatio="none", role="img", aria_label=label)
    step = -(-len(rows) // 20)
    labels = [
        element("span", name, style=f"top:{(place + 0.5) * 100 / len(rows):.2f}%")
        for place, name in enumerate(shown_names)
        if place % step == 0
    ]
    scale = join(
        element("span", "0%"), element("span", class_="ramp"), element("span", "100% of a client's data"),
    )  # fmt: skip
    widest = min(14, max(len(name) for name in shown_names))
    return join(
        element("p", scale, class_="legend", aria_hidden="true"),
        element(
            "div",
            element("div", *labels, class_="y", aria_hidden="true"),
            element("div", drawing, class_="drawing"),
            element("div", element("span", "clients, by their main class", style="left:50%"), class_="x"),
            class_="chart",
            style=f"--y:{widest}ch",
        ),
    )


def _map_words(clients: Sequence[ClientRow], names: Sequence[str]) -> str:
    together = -(-len(clients) // _MAX_MAP_COLUMNS)
    merged = f" Each column is the mean of {plural(together, 'client')}." if together > 1 else ""
    missing = sum(not all(_padded(client, len(names))) for client in clients)
    return f"{merged} {missing:,} of {plural(len(clients), 'client')} lack at least one class."


def _padded(client: ClientRow, num_classes: int) -> tuple[int, ...]:
    return (*client.histogram, *[0] * (num_classes - len(client.histogram)))


def _sorted_by_class(clients: Sequence[ClientRow]) -> list[ClientRow]:
    def order(client: ClientRow) -> tuple[int, float]:
        top = max(client.histogram)
        return client.histogram.index(top), -top / sum(client.histogram)

    return sorted(clients, key=order)


def _shares(clients: Sequence[ClientRow], num_classes: int) -> list[list[float]]:
    """Return each column's class shares: one client, or the mean of several neighbours when there are many."""
    together = -(-len(clients) // _MAX_MAP_COLUMNS)
    shares = [[n / sum(client.histogram) for n in _padded(client, num_classes)] for client in clients]
    groups = [shares[start : start + together] for start in range(0, len(shares), together)]
    return [[statistics.fmean(values) for values in zip(*group, strict=True)] for group in groups]


def _merge_classes(names: Sequence[str], rows: Sequence[Sequence[float]]) -> tuple[list[str], list[list[float]]]:
    together = -(-len(rows) // _MAX_MAP_CLASSES)
    starts = range(0, len(rows), together)
    merged = [[sum(values) for values in zip(*rows[start : start + together], strict=True)] for start in starts]
    return [names[start] for start in starts], merged


def _sizes(clients: Sequence[ClientRow]) -> tuple[Html, str, Html]:
    """Draw how many clients hold how many examples; return plot, note and table."""
    sizes = [sum(client.histogram) for client in clients]
    low, high = min(sizes), max(sizes)
    width = max(1, -(-(high - low + 1) // _SIZE_BINS))
    bins = [0] * ((high - low) // width + 1)
    for examples in sizes:
        bins[(examples - low) // width] += 1
    columns = [_size_column(low + place * width, width, high) for place in range(len(bins))]
    plot = column_chart(
        label=f"Number of clients by size, from {low} to {high} examples",
        scale=nice_scale(0.0, max(bins), is_whole=True),
        columns=columns,
        stacks=[Stack(label="clients", values=bins, style="c1")],
        show=lambda value: f"{value:g}",
    )
    body = [[column.name, count(amount)] for column, amount in zip(columns, bins, strict=True) if amount]
    return (
        plot,
        "Clients by their number of training examples.",
        table("Clients by size", ["Examples", "Clients"], body),
    )


def _size_column(first: int, width: int, highest: int) -> Column:
    last = min(first + width - 1, highest)
    return Column(name=count(first) if first == last else f"{count(first)} to {count(last)}", first=first, last=last)
