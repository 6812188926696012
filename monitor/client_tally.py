"""Adds the tallies of all rounds up to one row a client."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from monitor.tables import ClientRow
from monitor.tally import RoundTally, Update


@dataclass(slots=True)
class _ClientTally:
    histogram: list[int] = field(default_factory=list)
    asked: int = 0
    accepted: int = 0
    rejected: int = 0
    late: int = 0
    capped: int = 0
    trained: Update | None = None
    evaluated: Update | None = None
    seconds: list[float] = field(default_factory=list)
    num_bytes: int = 0
    rejections: Counter[str] = field(default_factory=Counter)


def client_rows(
    names: Iterable[str], histograms: Mapping[str, list[int]], tallies: Iterable[RoundTally]
) -> tuple[ClientRow, ...]:
    """Return a row for each client: ``names`` first, in their order, then others by first sight."""
    clients = {name: _ClientTally() for name in names}
    for name, histogram in histograms.items():
        clients.setdefault(name, _ClientTally()).histogram = histogram
    for tally in tallies:
        _add_round(clients, tally)
    clients.pop("", None)  # replies of nobody we asked are among the refusals
    return tuple(_client_row(name, client) for name, client in clients.items())


def _add_round(clients: dict[str, _ClientTally], tally: RoundTally) -> None:
    def client(name: str) -> _ClientTally:
        return clients.setdefault(name, _ClientTally())

    for name, times in tally.asked.items():
        client(name).asked += min(times, 1)
    for name, update in tally.updates.items():
        client(name).accepted += 1
        client(name).trained = update
    for name, update in tally.evaluations.items():
        client(name).evaluated = update
    for refusal in tally.refusals:
        client(refusal.client).rejected += refusal.phase != "evaluate"
        client(refusal.client).rejections[refusal.reason] += 1
    for name, times in tally.late.items():
        client(name).late += times
    for name, times in tally.capped.items():
        client(name).capped += times
    for name, seconds in tally.train_seconds.items():
        client(name).seconds.append(seconds)
    for name, num_bytes in tally.num_bytes.items():
        client(name).num_bytes += num_bytes


def _client_row(name: str, client: _ClientTally) -> ClientRow:
    last = client.evaluated or client.trained
    held = sum(client.histogram) if client.histogram else None
    claimed = client.trained.num_examples if client.trained else None
    return ClientRow(
        client=name,
        histogram=tuple(client.histogram),
        num_examples=claimed if held is None else held,
        asked=client.asked,
        accepted=client.accepted,
        rejected=client.rejected,
        late=client.late,
        capped=client.capped,
        loss=last.loss if last else None,
        accuracy=last.accuracy if last else None,
        norm=client.trained.norm if client.trained else None,
        mean_seconds=sum(client.seconds) / len(client.seconds) if client.seconds else None,
        num_bytes=client.num_bytes,
        rejections=dict(client.rejections.most_common()),
    )
