"""Who took part, and whose replies were refused and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from monitor.report.html import EMPTY, Html, Node, element, join
from monitor.report.parts import bar, card, table
from monitor.tables import ClientRow, RunSeries
from monitor.tally import Refusal
from monitor.words import DASH, count, duration, number, percent, plural, reason_in_words

MAX_CLIENT_ROWS = 100
_MAX_REFUSED_CLIENTS = 10
_MAX_DETAILS = 8


def refusals_by_reason(refusals: Sequence[Refusal]) -> Html:
    """Count refused replies by reason, in words."""
    reasons = Counter(refusal.reason for refusal in refusals)
    most = max(reasons.values(), default=1)
    body: list[list[Node]] = []
    for reason, times in reasons.most_common():
        words = element("span", reason_in_words(reason), " ", element("code", reason))
        body.append([words, join(count(times), bar(times / most, "bad"))])
    return card("Refused by reason", table("Refused replies of every phase, by reason", ["Reason", "Replies"], body))


def refusals_by_client(refusals: Sequence[Refusal]) -> Html:
    """Count refused replies by the client that was asked."""
    clients: dict[str, Counter[str]] = {}
    for refusal in refusals:
        clients.setdefault(refusal.client, Counter())[refusal.reason] += 1
    ranked = sorted(clients.items(), key=lambda item: -item[1].total())
    most = ranked[0][1].total() if ranked else 1
    body: list[list[Node]] = [
        [
            client or "nobody we asked",
            ", ".join(f"{reason} ({times:,})" for reason, times in reasons.most_common(3)),
            join(count(reasons.total()), bar(reasons.total() / most, "bad")),
        ]
        for client, reasons in ranked[:_MAX_REFUSED_CLIENTS]
    ]
    more = len(ranked) - _MAX_REFUSED_CLIENTS
    note = element("p", f"… and {plural(more, 'more client')}.", class_="note") if more > 0 else None
    shown = table("Refused replies of every phase, by client", ["Client", "Reasons", "Replies"], body, num_texts=2)
    return card("Refused by client", shown, note)


def last_refusals(refusals: Sequence[Refusal]) -> Html:
    """List the last refusals with what was seen."""
    body = [
        [str(refusal.server_round), refusal.phase, refusal.client or "nobody we asked", refusal.reason, refusal.detail]
        for refusal in list(refusals)[: -_MAX_DETAILS - 1 : -1]
    ]
    heads = ["Round", "Phase", "Client", "Reason", "What was seen"]
    shown = table(f"The last {len(body)} of {plural(len(refusals), 'refusal')}", heads, body, num_texts=5)
    return card("What was seen", shown)


def client_table(series: RunSeries) -> Html:
    """One line a client: all of them, or those that need a look when there are many."""
    clients = [client for client in series.clients if client.asked or client.num_examples is not None]
    if not clients:
        return EMPTY
    shown = clients if len(clients) <= MAX_CLIENT_ROWS else sorted(clients, key=_trouble)[:MAX_CLIENT_ROWS]
    left_out = len(clients) - len(shown)
    caption = "Each client over all rounds; loss and accuracy are its last, on its own test data where it has any"
    heads = ["Client", "Examples", "Asked", "Accepted", "Refused", "Late", "Accuracy", "Loss", "Mean time", "Sent"]
    note = None
    if left_out:
        text = f"Refused and late clients first, then the least accurate. {plural(left_out, 'more client')} not shown."
        note = element("p", text, class_="note")
    return join(note, table(caption, heads, map(_client_cells, shown)))


def _trouble(client: ClientRow) -> tuple[int, int, float]:
    return (
        -client.rejected - sum(client.rejections.values()),
        -client.late,
        client.accuracy if client.accuracy is not None else 2.0,
    )


def _client_cells(client: ClientRow) -> list[Node]:
    accuracy: Node = DASH
    if client.accuracy is not None:
        accuracy = join(percent(client.accuracy), bar(client.accuracy))
    return [
        client.client,
        count(client.num_examples),
        count(client.asked),
        count(client.accepted),
        element("span", count(client.rejected), class_="bad-text") if client.rejected else "0",
        count(client.late),
        accuracy,
        number(client.loss),
        duration(client.mean_seconds),
        f"{client.num_bytes / 1e6:.2f} MB" if client.num_bytes else DASH,
    ]
