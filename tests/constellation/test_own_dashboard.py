"""A dashboard that cannot start costs the training nothing, and no token is shown to whoever has its port."""

import sys
from pathlib import Path

import pytest

from constellation import own_dashboard
from constellation.own_dashboard import OwnDashboard
from shared.errors import UsageError


def test_a_dashboard_that_ends_at_once_is_said_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    dashboard = OwnDashboard(tmp_path / "runs", said.append)
    monkeypatch.setattr(own_dashboard, "own_identity", lambda: "nobody")  # an option it refuses
    dashboard.start(0, is_wanted=False)
    assert not dashboard.wait_until_ready(60)
    (sentence,) = said
    assert sentence.startswith("the dashboard could not be started: --end-with takes PID:START")
    assert sentence.endswith("training goes on without it")
    assert (dashboard.url, dashboard.is_ours) == ("", False)
    dashboard.close()


def test_a_program_that_is_not_there_is_said_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nothing"))
    dashboard = OwnDashboard(tmp_path / "runs", said.append)
    dashboard.start(0, is_wanted=False)
    assert said == ["the dashboard cannot be started: No such file or directory; training goes on without it"]
    assert dashboard.url == ""


def test_no_token_is_shown_before_the_dashboard_is_known_to_be_ours(tmp_path: Path) -> None:
    dashboard = OwnDashboard(tmp_path / "runs", print)
    dashboard.url = "http://127.0.0.1:1"  # its port; but nothing says that it is the one who listens there
    with pytest.raises(UsageError, match="still starting"):
        dashboard._token()
