from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.reporting import spool as spool_module
from monitor.reporting.spool import EventSpool, Rows


def line(seq: int, text: str = "x") -> str:
    return json.dumps({"seq": seq, "ts": 1.0, "run": "r", "type": "run-waiting", "reason": text}, separators=(",", ":"))


def file_of(path: Path, *seqs: int) -> Path:
    path.write_text("".join(line(seq) + "\n" for seq in seqs))
    return path


def read(spool: EventSpool, seq: int, max_rows: int = 1000, max_bytes: int = 1 << 20) -> list[int]:
    return numbers(spool.read_from(seq, max_rows=max_rows, max_bytes=max_bytes))


def numbers(rows: Rows) -> list[int]:
    found = [json.loads(row)["seq"] for row in rows.lines]
    assert (rows.first_seq, rows.last_seq) == ((found[0], found[-1]) if found else (0, 0))
    return found


@pytest.fixture
def opened() -> Iterator[Callable[..., EventSpool]]:
    """Make spools that are closed after the test."""
    with ExitStack() as stack:

        def open_spool(path: Path, **options: int) -> EventSpool:
            return stack.enter_context(closing(EventSpool(path, **options)))

        yield open_spool


def test_a_file_that_is_not_there_yet_holds_nothing(tmp_path: Path, opened: Callable[..., EventSpool]) -> None:
    spool = opened(tmp_path / "events.jsonl")
    assert not spool.read_from(1, max_rows=10, max_bytes=1000)
    file_of(tmp_path / "events.jsonl", 1, 2)
    assert read(spool, 1) == [1, 2]


def test_a_growing_file_is_followed_and_a_line_under_way_is_waited_for(
    tmp_path: Path, opened: Callable[..., EventSpool]
) -> None:
    path = file_of(tmp_path / "events.jsonl", 1, 2)
    spool = opened(path)
    assert read(spool, 1) == [1, 2]
    assert read(spool, 3) == []
    third = line(3)
    with path.open("a") as file:
        file.write(third[:20])
        file.flush()
        assert read(spool, 3) == []
        file.write(third[20:] + "\n" + line(4) + "\n")
        file.flush()
        assert read(spool, 3) == [3, 4]


def test_a_call_is_bounded_in_rows_and_in_bytes_and_goes_on_where_it_ended(
    tmp_path: Path, opened: Callable[..., EventSpool]
) -> None:
    spool = opened(file_of(tmp_path / "events.jsonl", *range(1, 11)))
    assert read(spool, 1, max_rows=3) == [1, 2, 3]
    size = len(line(1))
    assert read(spool, 4, max_bytes=2 * size) == [4, 5]
    assert read(spool, 6, max_bytes=1) == [6]  # at least one, or it would never go on
    assert read(spool, 7) == [7, 8, 9, 10]


def test_lines_that_hold_no_event_are_passed_over(tmp_path: Path, opened: Callable[..., EventSpool]) -> None:
    path = tmp_path / "events.jsonl"
    other_order = json.dumps({"type": "run-waiting", "seq": 3})
    lines = [line(1), "null", '{"seq":2,"torn', '{"seq":true}', '{"seq":-2}', "[" * 100_000, "", other_order, line(2)]
    path.write_text("".join(f"{text}\n" for text in lines))
    spool = opened(path)
    assert read(spool, 1) == [1, 3]  # 2 comes after 3: out of order
    assert spool.num_skipped == 6


def test_a_line_longer_than_a_call_is_passed_over_and_not_kept(
    tmp_path: Path, opened: Callable[..., EventSpool]
) -> None:
    path = tmp_path / "events.jsonl"
    long = line(2, "x" * (spool_module.MAX_LINE_BYTES * 2 + 7))
    path.write_text(f"{line(1)}\n{long}\n{line(3)}\n")
    spool = opened(path)
    assert read(spool, 1, max_bytes=1 << 30) == [1, 3]
    assert spool.num_skipped == 1


def test_events_can_be_left_out(tmp_path: Path, opened: Callable[..., EventSpool]) -> None:
    spool = opened(file_of(tmp_path / "events.jsonl", 1, 2, 3, 4, 5))
    assert numbers(spool.read_from(1, max_rows=3, max_bytes=1 << 20, without={2, 3})) == [1, 4, 5]


def test_events_missing_from_the_file_are_a_hole_and_not_an_end(
    tmp_path: Path, opened: Callable[..., EventSpool]
) -> None:
    spool = opened(file_of(tmp_path / "events.jsonl", 1, 4, 5))
    assert read(spool, 2) == [4, 5]
    assert read(spool, 1) == [1, 4, 5]


def test_the_index_stays_small_and_still_leads_to_every_event(
    tmp_path: Path, opened: Callable[..., EventSpool]
) -> None:
    spool = opened(file_of(tmp_path / "events.jsonl", *range(1, 20_001)), stride=1)
    assert len(read(spool, 1, max_rows=20_000, max_bytes=1 << 30)) == 20_000
    assert len(spool._index) <= spool_module.MAX_INDEX
    rng = random.Random(7)
    for seq in (1, 20_000, *(rng.randrange(1, 20_001) for _ in range(50))):
        assert read(spool, seq, max_rows=2)[0] == seq


@given(
    missing=st.sets(st.integers(1, 60)),
    starts=st.lists(st.tuples(st.integers(1, 70), st.integers(1, 20)), max_size=20),
    stride=st.integers(1, 9),
)
def test_reading_from_anywhere_in_any_order_gives_what_is_there(
    tmp_path_factory: pytest.TempPathFactory, missing: set[int], starts: list[tuple[int, int]], stride: int
) -> None:
    there = [seq for seq in range(1, 61) if seq not in missing]
    path = file_of(tmp_path_factory.mktemp("spool") / "events.jsonl", *there)
    spool = EventSpool(path, stride=stride)
    for start, amount in starts:
        assert read(spool, start, max_rows=amount) == [seq for seq in there if seq >= start][:amount]
    spool.close()
