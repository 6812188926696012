"""The end of a log: bounded, cleaned, and of the last start only."""

import os
from datetime import UTC, datetime
from pathlib import Path

from app.control.run_log import LOG_FILE, MAX_TAIL_BYTES, last_line, open_log, tail

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_the_last_lines_are_read_without_colours_and_control_characters(tmp_path: Path) -> None:
    (tmp_path / LOG_FILE).write_bytes(b"one\n\x1b[31mtwo\x1b[0m\nthr\x07ee\n")
    assert tail(tmp_path, 2) == ["two", "thr?ee"]


def test_a_huge_log_costs_its_end_only(tmp_path: Path) -> None:
    with (tmp_path / LOG_FILE).open("wb") as file:
        file.truncate(10 * 1024**3)  # sparse
        file.seek(0, os.SEEK_END)
        file.write(b"\nlast\n")
    found = tail(tmp_path, 1_000_000)
    assert found[-1] == "last"
    assert sum(map(len, found)) <= MAX_TAIL_BYTES


def test_no_log_says_nothing(tmp_path: Path) -> None:
    assert (tail(tmp_path, 5), last_line(tmp_path)) == ([], "")


def test_a_link_or_a_pipe_is_not_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret\n")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / LOG_FILE).symlink_to(secret)
    (tmp_path / "b").mkdir()
    os.mkfifo(tmp_path / "b" / LOG_FILE)
    assert tail(tmp_path / "a", 5) == tail(tmp_path / "b", 5) == []


def test_the_error_is_the_last_line_of_the_last_start(tmp_path: Path) -> None:
    (tmp_path / LOG_FILE).write_text("error: an old one\n")
    os.close(open_log(tmp_path, NOW))
    assert last_line(tmp_path) == ""
    with (tmp_path / LOG_FILE).open("a") as file:
        file.write("warning: hm\nerror: there is no dataset 'x'\n\n")
    assert last_line(tmp_path) == "there is no dataset 'x'"
    assert "--- started 2026-01-02 03:04:05 UTC" in tail(tmp_path, 10)
